//! The files of `deploy/` that put a whole stack together: what reads them accepts them where it can be had, and they
//! agree with each other and with the program.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use clap::ValueEnum;
use driftline::app::service::Role;
use driftline::app::settings::{self, Settings};
use driftline::backends::rabbitmq::RabbitMqConsumer;
use serde_json::{Value, json};

use crate::deploy::{exposed_metrics, metric_names, repository, run};
use crate::deploy_gates::yaml_documents;
use crate::service::fixtures::eventually;
use crate::support::serve::free_address;
use crate::support::services::{RabbitMq, find, rabbitmq};
use crate::web::fixtures::client;

const COLLECTORS: [&str; 4] =
    ["otel-collector.yaml", "otel-collector-gateway.yaml", "otel-collector-sampler.yaml", "compose/collector.yaml"];
/// Where the compose stack puts Prometheus' access token.
const READ_TOKEN: &str = "/run/secrets/driftline_read_token";
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
        if service.get("read_only").is_some() {
            let temporary = list(&service["tmpfs"])[0].as_str().unwrap();
            assert!(temporary.starts_with("/tmp:size="), "{name} has no room for files on their way to a bucket");
        }
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
fn every_variable_of_the_compose_stacks_example_is_used_and_no_other() {
    let (example, compose) = (text("deploy/compose/example.env"), text("deploy/compose/compose.yaml"));
    let given: BTreeSet<&str> = example
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once('=').unwrap_or_else(|| panic!("{line} is no variable")).0)
        .collect();
    let used = compose.split("${").skip(1).map(|after| after.split([':', '}']).next().unwrap());
    // A secret names its variable.
    let secrets = compose.split("{environment: ").skip(1).map(|after| after.split('}').next().unwrap());
    assert_eq!(used.chain(secrets).collect::<BTreeSet<&str>>(), given);
}

#[test]
fn the_judge_model_of_the_compose_stack_is_good_once_it_is_uncommented_and_gets_its_key() {
    let shipped = text("deploy/compose/driftline.toml");
    let (before, block) = shipped.split_once("# [judge.models.default]\n").unwrap();
    let lines = block.lines().take_while(|line| line.starts_with("# ")).map(|line| line[2..].to_owned() + "\n");
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("{before}[judge.models.default]\n{}", lines.collect::<String>())).unwrap();
    let settings = settings::load(Some(file.path())).unwrap();
    let variable = settings.judge.models["default"].api_key_env.clone().unwrap();
    assert!(settings.judge.budget.daily_usd.is_finite(), "a day has a limit");
    let compose = yaml_documents("compose/compose.yaml").remove(0);
    assert_eq!(compose["services"]["driftline"]["environment"][&variable], format!("${{{variable}}}"));
}

#[test]
fn flagged_runs_outlive_the_others_in_every_set_up_that_is_shipped() {
    let directory = |path: &str| settings::load(Some(&repository(path))).unwrap().archive.directory;
    let in_volume = directory("deploy/compose/driftline.toml");
    let compose = yaml_documents("compose/compose.yaml").remove(0);
    assert!(list(&compose["services"]["driftline"]["volumes"]).contains(&json!(format!("archive:{in_volume}"))));
    assert!(
        text("deploy/Dockerfile").contains(&format!("--chown=65532:65532 /empty {in_volume}\n")),
        "it may write there"
    );

    let unit = text("deploy/driftline.service");
    let state = unit.lines().find_map(|line| line.strip_prefix("StateDirectory=")).unwrap();
    let of_machine = directory("deploy/driftline.toml");
    assert!(of_machine.starts_with(&format!("/var/lib/{state}/")), "{of_machine} is nothing that the unit may write");

    let manifests = yaml_documents("kubernetes/driftline.yaml");
    let variable = json!({
        "name": "DRIFTLINE__ARCHIVE__DIRECTORY",
        "valueFrom": {"secretKeyRef": {"name": "driftline", "key": "DRIFTLINE__ARCHIVE__DIRECTORY"}},
    });
    for deployment in manifests.iter().filter(|it| it["kind"] == "Deployment") {
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert!(list(&container["env"]).contains(&variable), "a pod has to share the archive of the others");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_tells_prometheus_what_the_alerts_ask_of_its_queues() {
    let plugins = text("deploy/compose/rabbitmq-plugins");
    let mounted = "./rabbitmq-plugins:/etc/rabbitmq/enabled_plugins:ro";
    assert!(plugins.contains("rabbitmq_prometheus") && text("deploy/compose/compose.yaml").contains(mounted));
    let (broker, scraped) = tokio::task::block_in_place(RabbitMq::start_scraped);
    let queue = settings::load(Some(&repository("deploy/driftline.toml"))).unwrap().queue.name;
    let consumer = RabbitMqConsumer::connect(&broker.amqp_url, &queue, 1).await.unwrap();
    consumer.close().await.unwrap();
    let scrape = |file: &str, port: &str| {
        let configured = yaml_documents(file).remove(0);
        let jobs = list(&configured["scrape_configs"]).clone();
        let job = jobs.into_iter().find(|job| job["job_name"] == "rabbitmq").unwrap();
        let target = job["static_configs"][0]["targets"][0].as_str().unwrap();
        assert!(target.ends_with(port), "{file}: {target}");
        let (path, family) = (&job["metrics_path"], &job["params"]["family"][0]);
        format!("http://{scraped}{}?family={}", path.as_str().unwrap(), family.as_str().unwrap())
    };
    let url = scrape("prometheus.yml", ":15692");
    assert_eq!(url, scrape("compose/prometheus.yml", "rabbitmq:15692"));
    let rules = text("deploy/prometheus-rules.yml");
    let asked: BTreeSet<&str> = rules
        .split(|part: char| !part.is_ascii_alphanumeric() && part != '_')
        .filter(|word| word.starts_with("rabbitmq_"))
        .collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    let told = async || {
        let text = client().get(&url).send().await.ok()?.text().await.ok()?;
        let is_told = |metric: &str, queue: &str| {
            let label = format!("queue=\"{queue}\"");
            text.lines().any(|line| line.starts_with(&format!("{metric}{{")) && line.contains(&label))
        };
        let queues = [queue.clone(), format!("{queue}.dead")];
        asked.iter().all(|metric| queues.iter().all(|queue| is_told(metric, queue))).then_some(())
    };
    eventually("what the alerts ask for", told).await;
}

#[test]
fn prometheus_and_alertmanager_accept_their_configurations_of_the_stack() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &str, to: &str| {
        fs::copy(repository(from), folder.path().join(to)).unwrap();
        folder.path().join(to).to_str().unwrap().to_owned()
    };
    copy("deploy/prometheus-rules.yml", "prometheus-rules.yml");
    let prometheus = copy("deploy/compose/prometheus.yml", "prometheus.yml");
    // Compose puts the secret there; it is looked for even to try the file.
    let token = copy("deploy/compose/example.env", "token");
    fs::write(&prometheus, text("deploy/compose/prometheus.yml").replace(READ_TOKEN, &token)).unwrap();
    run(&find("promtool", "/usr/bin", "prometheus"), &["check", "config", &prometheus]);
    let amtool = find("amtool", "/usr/bin", "prometheus-alertmanager");
    run(&amtool, &["check-config", "deploy/compose/alertmanager.yml"]);
}

#[test]
fn the_parts_of_the_compose_stack_bring_the_tokens_that_its_readme_makes() {
    let (readme, example) = (text("deploy/compose/README.md"), text("deploy/compose/example.env"));
    for (role, variable) in [("ingest", "DRIFTLINE_INGEST_TOKEN"), ("read", "DRIFTLINE_READ_TOKEN")] {
        let made = readme.lines().find(|line| line.contains(&format!("tokens create --role {role} "))).unwrap();
        assert!(made.contains(variable) && example.contains(&format!("{variable}=\n")), "{made}");
    }
    let (compose, collector) = (yaml_documents("compose/compose.yaml"), yaml_documents("compose/collector.yaml"));
    let header = &collector[0]["exporters"]["otlphttp/driftline"]["headers"]["Authorization"];
    assert_eq!(header, "Bearer ${env:DRIFTLINE_INGEST_TOKEN}");
    assert_eq!(
        compose[0]["services"]["collector"]["environment"]["DRIFTLINE_INGEST_TOKEN"],
        "${DRIFTLINE_INGEST_TOKEN}"
    );
    let secret = READ_TOKEN.rsplit_once('/').unwrap().1;
    assert_eq!(compose[0]["secrets"][secret], json!({"environment": "DRIFTLINE_READ_TOKEN"}));
    assert_eq!(compose[0]["services"]["prometheus"]["secrets"], json!([secret]));
    let prometheus = &yaml_documents("compose/prometheus.yml")[0]["scrape_configs"][0];
    assert_eq!(prometheus["authorization"]["credentials_file"], READ_TOKEN);
}

/// The first command of a manifest or a README that makes a token, with a store of its own.
fn make_token(store: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftline"));
    let output = command.args(arguments).env("DRIFTLINE__STORE__URL", store).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stack_of_compose_does_not_start_without_a_token_and_with_one_lets_in_who_has_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite://{}", folder.path().join("driftline.db").display());
    let [receives_on, web_on] = [free_address(), free_address()];
    let open = |address: SocketAddr| format!("0.0.0.0:{}", address.port());
    let settings = text("deploy/compose/driftline.toml");
    assert!(settings.contains("0.0.0.0:4318") && settings.contains("0.0.0.0:8080"));
    let settings = settings.replace("0.0.0.0:4318", &open(receives_on)).replace("0.0.0.0:8080", &open(web_on));
    let file = folder.path().join("driftline.toml");
    fs::write(&file, settings).unwrap();
    let serve = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_driftline"));
        command.arg("serve").arg("--config").arg(&file).args(["--roles", "receive,web"]);
        command.env("DRIFTLINE__STORE__URL", &store).current_dir(folder.path()).stderr(Stdio::piped());
        command
    };
    let refused = tokio::task::block_in_place(|| serve().output().unwrap());
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("driftline tokens create"), "{why}");

    let pod = &yaml_documents("kubernetes/first-token.yaml")[0]["spec"]["containers"][0];
    let first: Vec<&str> = list(&pod["args"]).iter().map(|word| word.as_str().unwrap()).collect();
    let given: Value = serde_json::from_str(&make_token(&store, &first)).unwrap();
    let ingest = make_token(&store, &["tokens", "create", "--role", "ingest", "--name", "collector"]);
    let mut process = serve().spawn().unwrap();
    let http = client();
    let answer = async |path: String, token: &str| {
        let request = if path.contains("/v1/logs") { http.post(path).body("{}") } else { http.get(path) };
        let request = request.header("content-type", "application/json").bearer_auth(token);
        request.send().await.map_or(0, |response| response.status().as_u16())
    };
    let logs = || format!("http://{receives_on}/v1/logs");
    eventually("the service listens", async || (answer(logs(), &ingest).await == 200).then_some(())).await;
    let metrics = || format!("http://{web_on}/metrics");
    let answers = [
        answer(logs(), "driftline_guessed").await,
        answer(metrics(), &ingest).await,
        answer(metrics(), given["secret"].as_str().unwrap()).await,
    ];
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(answers, [401, 403, 200]);
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
            let temporary = list(&container["volumeMounts"]).iter().find(|mount| mount["mountPath"] == "/tmp").unwrap();
            let volume = list(&pod["spec"]["volumes"]).iter().find(|volume| volume["name"] == temporary["name"]);
            assert!(volume.unwrap()["emptyDir"]["sizeLimit"].is_string(), "room for files on their way to a bucket");
        }
        let ports = list(&pod["spec"]["containers"][0]["ports"]);
        let port = |probe: &str| &pod["spec"]["containers"][0][probe]["httpGet"]["port"];
        for probe in ["readinessProbe", "livenessProbe"] {
            assert!(ports.iter().any(|it| it["name"] == *port(probe)), "{probe} asks a port that is not there");
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

/// What PostgreSQL lets in unless it is told otherwise, without what it keeps for its administrators
/// (`max_connections` and `superuser_reserved_connections` in its manual).
const POSTGRES_LETS_IN: u64 = 100 - 3;

fn number(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is no number"))
}

/// Seconds after which a process that is told to stop has let go of the store: what it drains for, and its leave.
fn gone_after(settings: &Settings) -> u64 {
    settings.service.drain.as_secs() + 4
}

/// Pods of a deployment at once: an update adds some, and each that is replaced is still ending for a while.
fn most_pods(deployment: &Value, replicas: u64, settings: &Settings) -> u64 {
    let update = &deployment["spec"]["strategy"]["rollingUpdate"];
    assert_eq!(number(&update["maxUnavailable"]), 0, "one that ends is replaced before it has ended");
    let ready_for = deployment["spec"].get("minReadySeconds").map_or(0, number);
    assert!(replicas == 1 || ready_for > gone_after(settings), "several are ending at once");
    let ending = u64::from(replicas > 1);
    replicas + number(&update["maxSurge"]) + ending
}

#[test]
fn the_processes_that_are_deployed_and_a_command_are_let_in_by_a_database_as_it_is_shipped() {
    // And one by which it notes what it has read.
    let one_command = settings::defaults().unwrap().store.connections + 1;
    let documents = yaml_documents("kubernetes/driftline.yaml");
    let config = tempfile::NamedTempFile::new().unwrap();
    let of_kind = |kind: &'static str| documents.iter().filter(move |it| it["kind"] == kind);
    let map = of_kind("ConfigMap").next().unwrap();
    fs::write(config.path(), map["data"]["driftline.toml"].as_str().unwrap()).unwrap();
    let settings = settings::load(Some(config.path())).unwrap();
    let scaling = &yaml_documents("kubernetes/scaling.yaml")[0]["spec"];
    let pods = of_kind("Deployment").map(|deployment| {
        let is_scaled = deployment["metadata"]["name"] == scaling["scaleTargetRef"]["name"];
        let replicas = if is_scaled { &scaling["maxReplicaCount"] } else { &deployment["spec"]["replicas"] };
        most_pods(deployment, number(replicas), &settings)
    });
    let connections = pods.sum::<u64>() * u64::from(settings.store.connections) + u64::from(one_command);
    assert!(connections <= POSTGRES_LETS_IN, "{connections} connections in Kubernetes");

    let compose = yaml_documents("compose/compose.yaml").remove(0);
    let services = compose["services"].as_object().unwrap();
    let processes = services.values().filter(|service| service.get("build").is_some()).count();
    assert!(services["postgres"].get("command").is_none() && processes > 0);
    let settings = settings::load(Some(&repository("deploy/compose/driftline.toml"))).unwrap();
    let connections = processes as u64 * u64::from(settings.store.connections) + u64::from(one_command);
    assert!(connections <= POSTGRES_LETS_IN, "{connections} connections in compose");
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
