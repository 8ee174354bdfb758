//! The package as `cargo package` makes it, in an empty project, and the examples of the README as they stand, against the real server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::{Directory, RealServer};

/// The README's Rust blocks, each as a program. Lines that rustdoc hides are part of it, and what is no `main` stands in one.
fn programs() -> Vec<String> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let blocks = readme.split("```rust,no_run\n").skip(1).map(|block| block.split("\n```").next().unwrap().to_owned());
    let shown = |block: String| {
        block.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).collect::<Vec<_>>().join("\n")
    };
    let whole =
        blocks.map(shown).map(|text| if text.contains("fn main()") { text } else { format!("{text}\n{ON_A_LOOP}") });
    whole.collect()
}

/// What runs the README's task: any executor will do.
const ON_A_LOOP: &str = r"
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut task = std::pin::pin!(tasks());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(result) = task.as_mut().poll(&mut context) {
            return result;
        }
    }
}
";

fn cargo(arguments: &[&str], directory: &Path) {
    let done = Command::new(env!("CARGO")).args(arguments).current_dir(directory).output().unwrap();
    assert!(done.status.success(), "cargo {arguments:?}\n{}", String::from_utf8_lossy(&done.stderr));
}

/// An empty project that depends on the package, with each example as a program of its own.
fn project(directory: &Path, package: &Path, programs: &[String]) {
    let manifest = format!(
        "[package]\nname = \"empty\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
         changeover-client = {{ path = {:?} }}\nserde_json = \"1\"\n\n[profile.dev]\ndebug = false\n",
        package.display()
    );
    std::fs::create_dir_all(directory.join("src/bin")).unwrap();
    std::fs::write(directory.join("Cargo.toml"), manifest).unwrap();
    // The versions that the client is tested with are what is at hand.
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock"), directory.join("Cargo.lock")).unwrap();
    for (number, program) in programs.iter().enumerate() {
        std::fs::write(directory.join(format!("src/bin/example_{number}.rs")), program).unwrap();
    }
}

fn prepared() -> RealServer {
    let server = RealServer::start_with_change();
    let flag = json!({"key": "new-player", "type": "boolean", "variants": {"on": true, "no": false}, "default_variant": "on",
        "off_variant": "no", "rules": []});
    server.request("POST", "/api/v1/flags", &flag);
    server.serve("greeting", "Kia ora");
    server.serve("invoices-stage", "dualwrite");
    server.request("PUT", "/api/v1/gates/invoice-mailer", &json!({"single_instance": true}));
    server
}

#[test]
fn the_package_builds_in_an_empty_project_and_the_examples_work_as_they_stand() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = Directory::new();
    let packed = directory.file("packed");
    cargo(
        &["package", "--quiet", "--locked", "--allow-dirty", "--no-verify", "--target-dir", packed.to_str().unwrap()],
        source,
    );
    let archive = packed.join(format!("package/changeover-client-{}.crate", env!("CARGO_PKG_VERSION")));
    let unpacked = Command::new("tar").arg("-xzf").arg(&archive).current_dir(&directory.0).status().unwrap();
    assert!(unpacked.success());
    let package: PathBuf = directory.file(&format!("changeover-client-{}", env!("CARGO_PKG_VERSION")));
    for file in ["LICENSE", "README.md", "src/lib.rs"] {
        assert!(package.join(file).exists(), "{file}");
    }
    assert!(!package.join("tests").exists() && !package.join("examples").exists());

    let programs = programs();
    assert!(programs.len() >= 6);
    let empty = directory.file("empty");
    project(&empty, &package, &programs);
    let target = directory.file("built");
    cargo(&["build", "--quiet", "--target-dir", target.to_str().unwrap()], &empty);

    let server = prepared();
    let run = |number: usize| {
        let mut command = Command::new(target.join(format!("debug/example_{number}")));
        command.env("CHANGEOVER_URL", server.url()).env("CHANGEOVER_TOKEN", &server.admin_token).current_dir(&empty);
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}\n{}", programs[number], String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    assert_eq!(run(0), "the new player\nKia ora\n");
    let state: Value = serde_json::from_str(&std::fs::read_to_string(empty.join("flags.json")).unwrap()).unwrap();
    assert_eq!(state["format"], json!(1));
    assert_eq!(run(1), "Kia ora Some(\"v\") STATIC None\n");
    assert_eq!(run(2), "true\n");
    assert_eq!(run(3), "Some(13.0)\n");
    let told = run(4);
    assert!(told.starts_with("1 old\n2 old\nold [Part {"), "{told}");
    assert!(told.contains("Some(\"row_differs\") ["), "{told}");
    let mailed = run(5);
    assert!(mailed.starts_with("mailed 1 Some(") && mailed.lines().count() == 3, "{mailed}");
}
