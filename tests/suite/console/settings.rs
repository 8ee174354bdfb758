//! The settings' page, of a server in this process and of one that was started as a program.

use changeover::store::tokens::Role;

use super::Console;
use crate::support::each_database;

#[test]
fn settings_are_read_and_not_written() {
    each_database(|database| {
        let console = Console::new(&database);
        for role in [Role::Viewer, Role::Admin] {
            let page = console.signed_in(role).get("/console/settings");
            assert!(page.has("Nobody has told") && page.html.matches("<form").count() == 1, "{}", page.html);
        }
        let told = changeover::http::Setting {
            name: "--bind".to_owned(),
            variable: "CHANGEOVER_BIND".to_owned(),
            value: "<i>here</i>".to_owned(),
            source: "environment",
            help: "Where to listen".to_owned(),
        };
        let console = Console { state: console.state.clone().telling(vec![told]), ..console };
        let page = console.signed_in(Role::Viewer).get("/console/settings");
        assert!(page.has("CHANGEOVER_BIND") && page.has("&#60;i&#62;here") && page.has("environment"), "{}", page.html);
        assert!(console.browser().get("/console/settings").location().contains("/sign-in"));
    });
}
