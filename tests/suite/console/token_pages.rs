//! The tokens' pages: made and shown once, listed without a secret, revoked.

use changeover::store::tokens::Role;

use super::{Console, Page};
use crate::support::each_database;

fn secret(page: &Page) -> String {
    let after = page.html.split_once("id=\"secret\"").unwrap_or_else(|| panic!("{}", page.html)).1;
    after.split_once("value=\"").unwrap().1.split_once('"').unwrap().0.to_owned()
}

#[test]
fn a_token_is_made_shown_once_used_and_revoked() {
    each_database(|database| {
        let console = Console::new(&database);
        let admin = console.signed_in(Role::Admin);
        let csrf = admin.csrf();
        let make = |name: &str, role: &str, expires: &str| {
            let fields = [("csrf", csrf.as_str()), ("name", name), ("role", role), ("expires", expires)];
            admin.post("/console/tokens", &[&fields[..], &[("reason", "a new colleague")]].concat())
        };
        for (name, role, expires) in
            [(" ", "viewer", ""), ("x", "owner", ""), ("x", "viewer", "2020-01-01"), ("x", "viewer", "soon")]
        {
            let refused = make(name, role, expires);
            assert_eq!(refused.status, 422, "{name} {role} {expires}");
            assert!(refused.has("role=\"alert\"") && refused.has("value=\"a new colleague\""), "{}", refused.html);
        }
        let made = make("Lee <i>", "viewer", "2099-12-31");
        assert_eq!(made.status, 303, "{}", made.html);
        let address = made.location().to_owned();
        let made = admin.get(&address);
        assert_eq!(made.headers["cache-control"], "no-store");
        let text = secret(&made);
        assert!(!address.contains(&text) && admin.cookie("changeover_made").is_none(), "{address}");
        let again = admin.get(&address);
        assert!(again.has("is not shown again") && !again.has(&text), "{}", again.html);
        assert!(text.starts_with("co_") && made.has("2100-01-01 00:00 UTC") && !made.has("<i>"), "{}", made.html);
        let list = admin.get("/console/tokens");
        assert!(list.has("Lee &#60;i&#62;") && !list.has(&text) && !list.has("co_"), "{}", list.html);
        assert!(list.has("you are signed in with it"));
        assert!(admin.get("/console/audit?text=colleague").has("token.create"));
        assert!(!admin.get("/console/audit").has(&text));

        let lee = console.browser();
        assert_eq!(lee.sign_in(&text, "").status, 303);
        let page = lee.get("/console/tokens");
        assert!(page.status == 200 && page.html.matches("<form").count() == 1 && !page.has("/revoke"), "{}", page.html);
        let row = list.html.split("<tr>").find(|row| row.contains("Lee")).unwrap();
        let link = row.split('"').find(|text| text.ends_with("/revoke")).unwrap();
        assert_eq!((lee.get(link).status, lee.get(&address).status), (403, 403));
        assert_eq!(lee.post(link, &[("csrf", &lee.csrf()), ("reason", "no")]).status, 403);

        assert!(admin.get(link).has("is refused from now on") && !admin.get(link).has("That is you."));
        assert_eq!(admin.post(link, &[("csrf", &csrf), ("reason", "")]).status, 422);
        let revoked = admin.post(link, &[("csrf", &csrf), ("reason", "left")]);
        assert_eq!(revoked.status, 303, "{}", revoked.html);
        assert!(admin.get(revoked.location()).has("The token is revoked"));
        assert_eq!(lee.get("/console/tokens").status, 303, "signed out at once");
        assert_eq!(admin.get(link).status, 409);
        assert_eq!(admin.get("/console/tokens/none/revoke").status, 404);
    });
}

#[test]
fn who_revokes_the_own_token_is_told_and_signed_out() {
    each_database(|database| {
        let console = Console::new(&database);
        let admin = console.signed_in(Role::Admin);
        let list = admin.get("/console/tokens");
        let row = list.html.split("<tr>").find(|row| row.contains("you are signed in with it")).unwrap();
        let link = row.split('"').find(|text| text.ends_with("/revoke")).unwrap();
        assert!(admin.get(link).has("That is you."));
        assert_eq!(admin.post(link, &[("csrf", &admin.csrf()), ("reason", "rotation")]).status, 303);
        assert!(admin.get("/console/tokens").location().contains("/sign-in"));
    });
}
