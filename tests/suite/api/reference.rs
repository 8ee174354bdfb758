//! What is generated from the handlers and kept in the tree.

use changeover::http::{openapi, problem};

use super::Api;
use crate::support::{TestDatabase, assert_generated};

#[test]
fn the_openapi_document_is_up_to_date() {
    let document = serde_json::to_string_pretty(&openapi::generate()).unwrap();
    assert_generated("docs/reference/openapi.json", &format!("{document}\n"));
}

#[test]
fn the_list_of_problems_is_up_to_date() {
    assert_generated("docs/reference/problems.md", &problem::reference());
}

/// Each documented path is routed, and each routed path (but OFREP's, which has its own specification) is documented.
#[test]
fn the_document_and_the_routes_name_the_same_paths() {
    let document = serde_json::to_value(openapi::generate()).unwrap();
    let mut documented: Vec<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    let routes = include_str!("../../../src/http/routes.rs");
    let mut routed: Vec<String> =
        routes.split("path(\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect();
    documented.sort();
    routed.sort();
    assert_eq!(documented, routed);
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let summary = operation["summary"].as_str().unwrap_or_default();
            let described =
                operation["responses"].as_object().unwrap().values().any(|answer| answer["description"] != "");
            assert!(!summary.is_empty() || described, "{method} {path} says nothing about itself");
        }
    }
}

#[test]
fn the_page_of_the_api_needs_no_other_host() {
    let api = Api::new(&TestDatabase::sqlite());
    let reply = api.admin("GET", "/docs", "");
    let page = String::from_utf8(reply.body).unwrap();
    assert!(page.contains("/api/v1/flags/{key}/enabled"), "{page}");
    for other in ["http://", "https://", "//", "<script", "<link", "<img"] {
        assert!(!page.contains(&format!("=\"{other}")) && !page.contains(&format!("{other} ")), "{other}");
    }
}
