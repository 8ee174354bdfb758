//! `docs/reference/conformance.md`: every check, from the program itself. `CHANGEOVER_UPDATE=1 cargo test` writes it anew.

use std::fmt::Write;

use changeover::conformance::{Level, all};

use crate::support::assert_generated;

const HEAD: &str = "# Does a server speak OFREP as providers need it?

<!-- Generated from the program by `CHANGEOVER_UPDATE=1 cargo test`; do not edit. -->

`changeover conformance` asks any server of the OpenFeature Remote Evaluation Protocol, by its base URL, and prints a line for each
check: passed, failed, or not offered. A failure says what was asked, what came and what the rule is.

```sh
changeover conformance --url http://localhost:8080 --token \"$TOKEN\" --setup --admin-token \"$ADMIN\"   # a Changeover server
changeover conformance --url http://flags.internal:8016 --token \"$TOKEN\"                         # any other
```

Both need the same flags, all named `conformance-…`. `--setup` creates them on a Changeover server and `--teardown` removes them. Another
server is given them first: `changeover conformance --print-flags json` prints them as Changeover's API takes them, `--print-flags flagd`
as one file for flagd.

**must**: the protocol says so, or every provider breaks without it. **should**: some provider in use breaks without it, or users are
worse off. **may**: good to have. A rule of what a server does not offer (a token, CORS, an ETag, event streams) is skipped.

Exit codes: **0** no check failed, **1** at least one failed (`--level must` or `--level should` leaves out what is less binding), **2**
nothing could be checked. `--json` prints every check with its verdict. A server that limits the rate is waited for; `--burst 1000` drives
it to its limit.
";

#[test]
fn the_list_of_checks_is_up_to_date() {
    let mut page = String::from(HEAD);
    let mut subject = "";
    for check in all() {
        let (of, _) = check.id.split_once('.').unwrap();
        if of != subject {
            subject = of;
            write!(page, "\n## {subject}\n\n| check | level | rule |\n|---|---|---|\n").unwrap();
        }
        writeln!(page, "| `{}` | {} | {} |", check.id, check.level, check.rule).unwrap();
    }
    let count = |level| all().iter().filter(|check| check.level == level).count();
    write!(
        page,
        "\n{} checks: {} must, {} should, {} may.\n",
        all().len(),
        count(Level::Must),
        count(Level::Should),
        count(Level::May)
    )
    .unwrap();
    assert_generated("docs/reference/conformance.md", &page);
}
