//! The files of `deploy/` that put a whole stack together: what reads them accepts them where it can be had, and they
//! agree with each other and with the program.

use std::collections::BTreeSet;
use std::fs;

use clap::ValueEnum;
use driftline::app::service::Role;
use driftline::app::settings;
use driftline::backends::rabbitmq::RabbitMqConsumer;
use serde_json::{Value, json};

use crate::deploy::{exposed_metrics, metric_names, repository, run};
use crate::deploy_gates::yaml_documents;
use crate::support::services::{find, rabbitmq};

const COLLECTORS: [&str; 4] =
    ["otel-collector.yaml", "otel-collector-gateway.yaml", "otel-collector-sampler.yaml", "compose/collector.yaml"];
const DASHBOARDS: [&str; 2] = ["agents", "health"];

fn text(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

fn words(value: &Value) -> BTreeSet<&str> {
    list(value).iter().map(|word| word.as_str().unwrap()).collect()
}

#[test]
fn the_queues_that_are_imported_into_rabbitmq_are_those_that_driftline_declares() {
    let broker = rabbitmq();
    let name = "driftline.traces";
    let queues = || {
        let listed = broker.ctl(&["list_queues", "name", "durable", "arguments", "--formatter", "json"]);
        let queues: Vec<Value> = serde_json::from_str(&listed).unwrap();
        let ours = queues.iter().filter(|queue| queue["name"].as_str().unwrap().starts_with(name));
        // Name and value of each argument: widths of numbers differ, and RabbitMQ minds them not.
        let arguments = |queue: &Value| -> BTreeSet<String> {
            list(&queue["arguments"]).iter().map(|it| format!("{}={}", it[0], it[2])).collect()
        };
        ours.map(|queue| (queue["name"].to_string(), queue["durable"] == true, arguments(queue)))
            .collect::<BTreeSet<_>>()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let consumer = RabbitMqConsumer::connect(&broker.amqp_url, name, 1).await.unwrap();
        consumer.close().await.unwrap();
    });
    let declared = queues();
    assert_eq!(declared.len(), 3);
    for queue in [name, "driftline.traces.retry", "driftline.traces.dead"] {
        broker.ctl(&["delete_queue", queue]);
    }
    broker.ctl(&["import_definitions", repository("deploy/rabbitmq-definitions.json").to_str().unwrap()]);
    assert_eq!(queues(), declared);
}

#[test]
fn every_collector_uses_what_it_defines_and_publishes_to_the_queue_that_is_consumed() {
    let queue = settings::load(Some(&repository("deploy/driftline.toml"))).unwrap().queue.name;
    for name in COLLECTORS {
        let collector = yaml_documents(name).remove(0);
        for (pipeline, parts) in collector["service"]["pipelines"].as_object().unwrap() {
            for kind in ["receivers", "processors", "exporters"] {
                let defined: BTreeSet<&str> = collector[kind].as_object().unwrap().keys().map(String::as_str).collect();
                let used = words(&parts[kind]);
                assert!(used.is_subset(&defined), "{name}: {pipeline} uses {used:?} of {defined:?}");
            }
        }
        if let Some(rabbitmq) = collector["exporters"].get("rabbitmq") {
            assert_eq!(rabbitmq["routing"]["routing_key"], queue.as_str(), "{name}");
        }
    }
}

#[test]
fn what_the_collector_of_the_compose_stack_samples_is_what_its_settings_say() {
    let collector = yaml_documents("compose/collector.yaml").remove(0);
    let policies = list(&collector["processors"]["tail_sampling"]["policies"]);
    let share = policies.iter().find_map(|policy| policy["probabilistic"]["sampling_percentage"].as_str()).unwrap();
    let slow = policies.iter().find_map(|policy| policy["latency"]["threshold_ms"].as_str()).unwrap();
    let settings: toml::Table = text("deploy/compose/driftline.toml").parse().unwrap();
    let upstream = serde_json::to_value(&settings["sampling"]["upstream"]).unwrap();
    let slow = format!("{}s", slow.parse::<u64>().unwrap() / 1_000);
    let expected = json!([
        {"where": {"span_error": true}, "probability": 1.0},
        {"where": {"min_duration": slow}, "probability": 1.0},
        {"probability": share.parse::<f64>().unwrap() / 100.0},
    ]);
    assert_eq!(upstream, expected);
}

#[test]
fn the_compose_stack_mounts_files_that_are_there_and_pins_its_images() {
    settings::load(Some(&repository("deploy/compose/driftline.toml"))).unwrap();
    let compose = yaml_documents("compose/compose.yaml").remove(0);
    let services = compose["services"].as_object().unwrap();
    for (name, service) in services {
        for mount in service.get("volumes").map(list).into_iter().flatten().filter_map(Value::as_str) {
            let source = mount.split(':').next().unwrap();
            let known = compose["volumes"].get(source).is_some() || repository("deploy/compose").join(source).exists();
            assert!(known, "{name} mounts {source}");
        }
        let image = service.get("image").and_then(Value::as_str);
        let tag = image.and_then(|image| image.rsplit_once(':')).map(|(_, tag)| tag);
        assert!(service.get("build").is_some() || tag.is_some_and(|tag| tag != "latest"), "{name}: {image:?}");
        for port in service.get("ports").map(list).into_iter().flatten() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name} opens {port} to the network");
        }
        for other in service.get("depends_on").and_then(Value::as_object).into_iter().flat_map(|of| of.keys()) {
            assert!(services.contains_key(other), "{name} depends on {other}");
        }
    }
    let dockerfile = text("deploy/Dockerfile");
    assert!(dockerfile.contains("\nUSER 65532:65532\n") && !dockerfile.contains(":latest"));
}

#[test]
fn prometheus_alertmanager_and_nginx_accept_their_configurations_of_the_stack() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &str, to: &str| {
        fs::copy(repository(from), folder.path().join(to)).unwrap();
        folder.path().join(to).to_str().unwrap().to_owned()
    };
    copy("deploy/prometheus-rules.yml", "prometheus-rules.yml");
    let prometheus = copy("deploy/compose/prometheus.yml", "prometheus.yml");
    run(&find("promtool", "/usr/bin", "prometheus"), &["check", "config", &prometheus]);
    let amtool = find("amtool", "/usr/bin", "prometheus-alertmanager");
    run(&amtool, &["check-config", "deploy/compose/alertmanager.yml"]);
    // It makes the folders that it names even to try its settings.
    let proxy = folder.path().join("proxy.conf");
    fs::write(&proxy, text("deploy/proxy.conf").replace("/tmp/", &format!("{}/", folder.path().display()))).unwrap();
    run(&find("nginx", "/usr/sbin", "nginx-light"), &["-t", "-c", proxy.to_str().unwrap()]);
}

#[test]
fn the_kubernetes_manifests_fit_together_and_their_settings_are_accepted() {
    let documents = yaml_documents("kubernetes/driftline.yaml");
    let of_kind = |kind: &str| documents.iter().filter(|it| it["kind"] == kind).cloned().collect::<Vec<Value>>();
    let config = tempfile::NamedTempFile::new().unwrap();
    fs::write(config.path(), of_kind("ConfigMap")[0]["data"]["driftline.toml"].as_str().unwrap()).unwrap();
    settings::load(Some(config.path())).unwrap();
    let mut roles = BTreeSet::new();
    for deployment in of_kind("Deployment") {
        let pod = &deployment["spec"]["template"];
        assert_eq!(deployment["spec"]["selector"]["matchLabels"], pod["metadata"]["labels"]);
        let volumes: BTreeSet<&str> =
            list(&pod["spec"]["volumes"]).iter().map(|it| it["name"].as_str().unwrap()).collect();
        for container in list(&pod["spec"]["containers"]) {
            assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], "false");
            for mount in list(&container["volumeMounts"]) {
                assert!(volumes.contains(mount["name"].as_str().unwrap()), "{mount}");
            }
        }
        let arguments = list(&pod["spec"]["containers"][0]["args"]);
        let of_pod = arguments.last().unwrap().as_str().unwrap().split(',');
        roles.extend(of_pod.map(|role| format!("{:?}", Role::from_str(role, false).unwrap())));
    }
    assert_eq!(roles.len(), Role::value_variants().len(), "some role runs nowhere: {roles:?}");
    let names: Vec<Value> = of_kind("Deployment").iter().map(|it| it["metadata"]["name"].clone()).collect();
    let scaling = yaml_documents("kubernetes/scaling.yaml");
    assert!(names.contains(&scaling[0]["spec"]["scaleTargetRef"]["name"]));
    let query = scaling[0]["spec"]["triggers"][1]["metadata"]["query"].as_str().unwrap();
    let exposed = exposed_metrics();
    assert!(metric_names(query).all(|name| exposed.contains(name)), "{query}");
}

#[test]
fn every_expression_of_a_dashboard_is_one_and_names_metrics_that_exist() {
    let exposed = exposed_metrics();
    let mut rules = String::from("groups:\n- name: dashboards\n  rules:\n");
    for name in DASHBOARDS {
        let dashboard: Value = serde_json::from_str(&text(&format!("deploy/grafana/dashboards/{name}.json"))).unwrap();
        let variables: Vec<&Value> = list(&dashboard["templating"]["list"]).iter().map(|it| &it["name"]).collect();
        let mut ids = BTreeSet::new();
        for panel in list(&dashboard["panels"]) {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: two panels are {}", panel["id"]);
            assert!(panel["gridPos"]["w"].is_u64() && panel["title"].is_string() && panel["type"].is_string());
            for target in list(&panel["targets"]) {
                let expression = target["expr"].as_str().unwrap();
                let unknown: Vec<&str> = metric_names(expression).filter(|it| !exposed.contains(*it)).collect();
                assert!(unknown.is_empty(), "{name}: {unknown:?} are not among {exposed:?}");
                let used = expression.split('$').skip(1).map(|after| after.split('"').next().unwrap());
                used.for_each(|variable| assert!(variables.iter().any(|it| **it == variable), "{name}: ${variable}"));
                let expression = expression.replace('$', "");
                rules.push_str(&format!("  - record: panel\n    expr: '{expression}'\n"));
            }
        }
        assert!(dashboard["uid"].is_string() && dashboard["schemaVersion"].is_u64());
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), rules).unwrap();
    let checked = run(
        &find("promtool", "/usr/bin", "prometheus"),
        &["check", "rules", "--lint=none", file.path().to_str().unwrap()],
    );
    assert!(checked.contains("SUCCESS"), "{checked}");
}

#[test]
fn dashboards_lead_to_traces_and_exemplars_are_read_by_the_name_that_they_have() {
    let agents = text("deploy/grafana/dashboards/agents.json");
    for link in
        ["${driftline}/traces?service=${__field.labels.service}", "${driftline}/traces/${__data.fields.trace_id}"]
    {
        assert!(agents.contains(link), "{link}");
    }
    let sources = yaml_documents("grafana/datasources.yaml").remove(0);
    let exemplars = &sources["datasources"][0]["jsonData"]["exemplarTraceIdDestinations"][0];
    assert_eq!(exemplars, &json!({"name": "trace_id", "datasourceUid": sources["datasources"][1]["uid"]}));
}
