//! The API as `/openapi.json` describes it: every route is there, and every answer that a test gets is as described.

use std::collections::BTreeSet;
use std::fs;

use boon::{Compiler, Schemas};
use serde_json::Value;

use super::fixtures::Service;
use crate::deploy::repository;

const FILE: &str = "src/web/openapi.json";

fn document() -> Value {
    serde_json::from_str(&fs::read_to_string(repository(FILE)).unwrap()).unwrap()
}

/// Fails when an answer of the API is not as described.
pub(crate) fn hold(method: &str, path: &str, status: u16, answer: &Value) {
    let path = path.split('?').next().unwrap();
    let document = document();
    let Some(template) = template(&document, method, path) else { return };
    let escaped = template.replace('~', "~0").replace('/', "~1");
    let responses = &document["paths"][&template][method]["responses"];
    let status = if responses.get(status.to_string()).is_some() { status.to_string() } else { "default".to_owned() };
    assert!(responses.get(&status).is_some(), "{method} {template} answers {status}, which is not described: {answer}");
    let place = format!("paths/{escaped}/{method}/responses/{status}/content/application~1json/schema");
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("openapi.json", document).unwrap();
    let schema = compiler.compile(&format!("openapi.json#/{place}"), &mut schemas).unwrap();
    if let Err(error) = schemas.validate(answer, schema) {
        panic!("{method} {path} answers what is not described: {error:#}\n{answer}");
    }
}

/// The described path that a path is one of, those without parameters before those with.
fn template(document: &Value, method: &str, path: &str) -> Option<String> {
    let fits = |template: &&String| {
        let (wanted, found): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
        wanted.len() == found.len()
            && wanted.iter().zip(&found).all(|(wanted, found)| wanted.starts_with('{') || wanted == found)
    };
    let paths = document["paths"].as_object().unwrap();
    let fitting = paths.iter().filter(|(_, operations)| operations.get(method).is_some()).map(|(template, _)| template);
    fitting.filter(fits).min_by_key(|template| template.matches('{').count()).cloned()
}

/// Methods and paths of the routes that the listener has, pages aside.
fn routes() -> BTreeSet<(String, String)> {
    let code = fs::read_to_string(repository("src/web/mod.rs")).unwrap();
    let mut routes = BTreeSet::new();
    for route in code.split(".route(\"").skip(1) {
        let (path, handlers) = route.split_once("\", ").unwrap();
        let handlers = handlers.lines().next().unwrap();
        let methods = ["get", "post"]
            .into_iter()
            .filter(|method| handlers.starts_with(&format!("{method}(")) || handlers.contains(&format!(").{method}(")));
        if ["pages::", "assets::", "login::"].iter().all(|of_people| !handlers.contains(of_people)) {
            routes.extend(methods.map(|method| (method.to_owned(), path.to_owned())));
        }
    }
    routes
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let document = document();
    let described = document["paths"].as_object().unwrap().iter().flat_map(|(path, operations)| {
        let methods = operations.as_object().unwrap().keys().filter(|key| ["get", "post"].contains(&key.as_str()));
        methods.map(move |method| (method.clone(), path.clone()))
    });
    assert_eq!(described.collect::<BTreeSet<_>>(), routes());
}

#[test]
fn every_operation_says_what_it_does_and_names_the_parameters_of_its_path() {
    for (path, operations) in document()["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(operation["summary"].as_str().is_some_and(|summary| summary.len() > 10), "{method} {path}");
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let named = parameters
                .iter()
                .filter(|it| it["in"] == "path")
                .map(|it| format!("{{{}}}", it["name"].as_str().unwrap()));
            let in_path = path.split('/').filter(|part| part.starts_with('{')).map(str::to_owned);
            assert_eq!(named.collect::<BTreeSet<_>>(), in_path.collect(), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn answers_that_no_other_test_asks_for_are_as_described_too() {
    let service = Service::with_traffic().await;
    service.answer("/api/v1/judges").await;
    let (status, planned) =
        service.post("/api/v1/evaluators/backfill", "application/json", r#"{"where": "", "failed": false}"#).await;
    assert_eq!(status, 200, "{planned}");
}

#[tokio::test]
async fn the_description_is_served_and_describes_itself() {
    let service = Service::empty().await;
    let served = service.answer("/openapi.json").await;
    assert_eq!(served, document());
    assert_eq!(served["openapi"], "3.1.0");
}
