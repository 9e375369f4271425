//! The house rules that no compiler knows: who may name whom, how long a file may be, what must not be left behind.
//!
//! The tables below are the rules. Each has planted violations in `tests/tidy/planted`, which prove that it bites.

#[path = "tidy/source.rs"]
mod source;

use proc_macro2::{TokenStream, TokenTree};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A part of the crate and the parts that it may name beside itself. The longest prefix holds.
const LAYERS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("config", &["core"]),
    ("error", &["core", "config", "store"]),
    ("messages", &["core", "error"]),
    ("telemetry", &["core", "config", "store", "transport"]),
    ("store", &["core"]),
    ("store::memory", &["core", "store"]),
    ("store::postgres", &["core", "store"]),
    ("store::sqlite", &["core", "store"]),
    ("transport", &["core", "config"]),
    ("transport::grpc", &["core", "config", "transport", "fencing"]),
    ("fencing", &["core"]),
    ("actors", &["core", "config", "error", "messages", "store", "telemetry", "transport"]),
    ("manager", &["core", "error", "actors", "messages", "store"]),
    ("supervisor", &[""]),
    ("testing", &["core", "config", "error", "actors", "fencing", "manager", "messages", "store", "transport"]),
];

/// Adapters, and the only parts that may name them.
const SEALED: &[(&str, &[&str])] = &[
    ("store::memory", &["supervisor", "testing"]),
    ("store::postgres", &["supervisor"]),
    ("store::sqlite", &["supervisor"]),
    ("transport::grpc", &["supervisor"]),
];

/// What an actor may name of `actors` beside itself: what it is handed, and never another actor.
const HANDED_IN: &[&str] = &[
    "actors::cells",
    "actors::clock",
    "actors::reconfigure",
    "actors::Reconfigure",
    "actors::relay",
    "actors::elector::asked",
    "actors::elector::known",
    "actors::elector::repository",
    "actors::Cells",
    "actors::LocalView",
    "actors::Relay",
    "actors::synced",
    "actors::primaries",
];

/// Which part may name which dependency. Every dependency needs a row; `""` stands for all parts.
const CRATES: &[(&str, &[&str])] = &[
    ("serde", &[""]),
    ("thiserror", &[""]),
    ("actix", &["messages", "actors", "supervisor", "testing"]),
    ("arc_swap", &["actors"]),
    ("foldhash", &["actors"]),
    ("smallvec", &["actors"]),
    ("actix_rt", &["actors", "supervisor", "testing"]),
    ("tokio", &["store", "transport", "fencing", "actors", "supervisor", "telemetry", "testing"]),
    ("futures_util", &["manager", "store", "transport", "fencing", "actors", "supervisor", "telemetry", "testing"]),
    ("prometheus_client", &["telemetry::prometheus"]),
    ("tracing", &["telemetry", "store::postgres", "store::sqlite", "transport::grpc", "fencing"]),
    ("uuid", &["store", "transport::grpc", "actors", "supervisor", "testing"]),
    ("serde_json", &["store", "fencing", "actors", "supervisor", "testing"]),
    ("toml", &["config"]),
    ("humantime", &["config"]),
    ("url", &["config", "transport", "store::postgres"]),
    ("diesel", &["store::postgres", "store::sqlite", "store::statement", "store::incumbent"]),
    ("diesel_async", &["store::postgres"]),
    ("diesel_migrations", &["store::postgres", "store::sqlite"]),
    ("deadpool", &["store::postgres"]),
    ("tokio_postgres", &["store::postgres"]),
    ("socket2", &["store::postgres", "transport::grpc"]),
    ("libsqlite3_sys", &["store::sqlite"]),
    ("r2d2", &["store::sqlite"]),
    ("rustix", &["store::sqlite", "transport::grpc", "fencing", "supervisor"]),
    ("tonic", &["transport::grpc", "fencing", "testing"]),
    ("tonic_health", &["transport::grpc", "testing"]),
    ("tonic_prost", &["transport::grpc", "fencing"]),
    ("tonic_types", &["fencing"]),
    ("prost", &["transport::grpc", "fencing"]),
    ("hyper", &["transport::grpc"]),
    ("hyper_util", &["transport::grpc"]),
    ("h2", &["transport::grpc"]),
    ("rustls", &["transport::grpc"]),
    ("ring", &["transport::grpc"]),
    ("tokio_rustls", &["transport::grpc"]),
    ("rustls_native_certs", &["transport::grpc"]),
    ("yamux", &["transport::grpc::backchannel"]),
    ("tokio_util", &["transport::grpc::backchannel"]),
    ("tower", &["transport::grpc", "fencing"]),
    ("http", &["transport::grpc", "fencing"]),
    ("http_body", &["transport::grpc"]),
];

/// Of what is kept out of the core, the one that is allowed there: text that is shared waits for nobody.
const SHARED: &str = "std::sync::Arc";

/// What the rules must not see of `std`: clocks, the outside world, other threads, and maps without an order.
const IMPURE: &[&str] = &[
    "std::time::Instant",
    "std::time::SystemTime",
    "std::env",
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::sync",
    "std::thread",
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::collections::hash_map",
    "std::collections::hash_set",
];

/// Lines that a file may have, `#[cfg(test)]` items and generated files left out.
const LINES_MAX: usize = 500;
/// Macros that must not be left behind, in tests neither. Likewise `#[ignore]`.
const LEFT_BEHIND: &[&str] = &["todo", "unimplemented", "dbg"];

fn under(path: &str, prefix: &str) -> bool {
    prefix.is_empty() || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn any_under(path: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| under(path, prefix))
}

/// Whether a name reaches into `part`; a glob reaches into everything beneath.
fn reaches(name: &str, part: &str) -> bool {
    under(name, part) || name.strip_suffix("::*").is_some_and(|above| under(part, above))
}

/// The module that a file below `src` is.
fn module_of(path: &str) -> Vec<String> {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut parts: Vec<String> = inner.split('/').map(str::to_owned).collect();
    parts.pop_if(|last| ["mod", "lib"].contains(&last.as_str()));
    parts
}

/// Everything that is wrong with one file below `src`.
fn source_problems(path: &str, source: &source::Source, generated: bool) -> Vec<String> {
    let me = module_of(path).join("::");
    let layer = LAYERS.iter().filter(|(layer, _)| under(&me, layer)).max_by_key(|(layer, _)| layer.len());
    let mut found = Vec::new();
    if layer.is_none() && !me.is_empty() {
        found.push(format!("`{me}` has no row in LAYERS"));
    }
    for name in &source.names {
        if let Some(ours) = name.strip_prefix("crate").map(|rest| rest.trim_start_matches("::")) {
            let Some((layer, allowed)) = layer else { continue };
            let actor = me.starts_with("actors::") && under(ours, "actors");
            if !under(ours, layer) && !any_under(ours, allowed) {
                found.push(format!("`{layer}` may not name `{name}`"));
            } else if SEALED.iter().any(|(part, by)| reaches(ours, part) && !under(&me, part) && !any_under(&me, by)) {
                found.push(format!("`{me}` may not name the adapter `{name}`"));
            } else if actor && !under(ours, &me) && !any_under(ours, HANDED_IN) {
                found.push(format!("the actor `{me}` may not name its neighbour `{name}`: it is handed a relay"));
            }
        } else if let Some((dependency, by)) = CRATES.iter().find(|(dependency, _)| under(name, dependency)) {
            if !any_under(&me, by) && !me.is_empty() {
                found.push(format!("`{me}` may not name the crate `{dependency}`"));
            }
        } else if under(&me, "core") && name != SHARED && IMPURE.iter().any(|impure| reaches(name, impure)) {
            found.push(format!("`{me}` may not name `{name}`: the rules are pure"));
        }
    }
    found.extend(source.statics.iter().map(|name| format!("`static {name}`: two supervisors fit in one process")));
    if source.lines > LINES_MAX && !generated {
        found.push(format!("{} lines, the wall is {LINES_MAX}", source.lines));
    }
    found
}

/// Looks at tokens, so that strings and comments may say what code must not.
fn left_behind(stream: TokenStream, found: &mut Vec<String>) {
    let trees: Vec<TokenTree> = stream.into_iter().collect();
    for pair in trees.windows(2) {
        match pair {
            [TokenTree::Ident(name), TokenTree::Punct(mark)]
                if mark.as_char() == '!' && LEFT_BEHIND.iter().any(|left| name == left) =>
            {
                found.push(format!("`{name}!` is left behind"));
            }
            [TokenTree::Punct(mark), TokenTree::Group(attribute)] if mark.as_char() == '#' => {
                let words: Vec<String> = attribute.stream().into_iter().map(|word| word.to_string()).collect();
                let conditional = words.first().is_some_and(|word| word == "cfg_attr")
                    && words.iter().any(|word| word.trim_end_matches(')').ends_with("ignore"));
                if conditional || words.first().is_some_and(|word| word == "ignore") {
                    found.push("`#[ignore]` is left behind".to_owned());
                }
            }
            _ => {}
        }
    }
    for tree in trees {
        if let TokenTree::Group(group) = tree {
            left_behind(group.stream(), found);
        }
    }
}

/// Everything that is wrong with a tree of files.
fn problems(files: &BTreeMap<String, String>) -> Vec<String> {
    let (mut found, mut sources, mut tests) = (BTreeSet::new(), Vec::new(), Vec::new());
    for (path, text) in files {
        let mut say = |what: String| {
            found.insert(format!("{path}: {what}"));
        };
        if path.ends_with(".sql") {
            let lines = text.lines().count();
            if lines > LINES_MAX {
                say(format!("{lines} lines, the wall is {LINES_MAX}"));
            }
            continue;
        }
        let mut left = Vec::new();
        match text.parse::<TokenStream>() {
            Ok(stream) => left_behind(stream, &mut left),
            Err(error) => say(format!("not Rust: {error}")),
        }
        left.into_iter().for_each(&mut say);
        if path.starts_with("src/") {
            match source::read(&module_of(path), text) {
                Ok(source) => {
                    // A module's children stand beside `mod.rs` and `lib.rs`, else in a folder of its name; one that
                    // is named by `#[path]` stands beside the file.
                    let (folder, file) = path.rsplit_once('/').unwrap_or_default();
                    for module in &source.test_modules {
                        tests.push(format!("{folder}/{module}"));
                        tests.push(format!("{folder}/{}/{module}", file.trim_end_matches(".rs")));
                    }
                    sources.push((path, source, text.lines().next().is_some_and(|line| line.contains("@generated"))));
                }
                Err(error) => say(format!("not Rust: {error}")),
            }
        }
    }
    let is_test = |path: &str| {
        let stem = path.trim_end_matches(".rs");
        tests.iter().any(|test| stem.strip_prefix(test).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    };
    for (path, source, generated) in sources.iter().filter(|(path, ..)| !is_test(path)) {
        found.extend(source_problems(path, source, *generated).into_iter().map(|what| format!("{path}: {what}")));
    }
    found.into_iter().collect()
}

/// The two databases migrate in the same steps.
fn migration_problems(postgres: &BTreeSet<String>, sqlite: &BTreeSet<String>) -> Vec<String> {
    let missing = |here: &str, name: &String| format!("migrations/{here}/{name}: missing; both backends migrate alike");
    let in_sqlite = postgres.difference(sqlite).map(|name| missing("sqlite", name));
    in_sqlite.chain(sqlite.difference(postgres).map(|name| missing("postgres", name))).collect()
}

/// Dependencies that nobody has decided about.
fn dependency_problems(manifest: &str) -> Vec<String> {
    let section = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let names = section.take_while(|line| !line.starts_with('[')).filter(|line| !line.starts_with('#'));
    let names = names.filter_map(|line| line.split_once('=')).map(|(name, _)| name.trim().replace('-', "_"));
    let unknown = names.filter(|name| !CRATES.iter().any(|(known, _)| known == name));
    unknown.map(|name| format!("Cargo.toml: the crate `{name}` has no row in CRATES")).collect()
}

fn walk(root: &Path, folder: &str, files: &mut BTreeMap<String, String>) {
    let Ok(entries) = fs::read_dir(root.join(folder)) else { return };
    for entry in entries.map(Result::unwrap) {
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() && path != "tests/tidy/planted" {
            walk(root, &path, files);
        } else if path.ends_with(".rs") || path.ends_with(".sql") {
            files.insert(path, fs::read_to_string(entry.path()).unwrap());
        }
    }
}

/// The steps of a backend: a folder each, with both directions.
fn steps(root: &Path, backend: &str) -> BTreeSet<String> {
    let mut files = BTreeMap::new();
    walk(root, &format!("migrations/{backend}"), &mut files);
    files.keys().filter_map(|path| path.splitn(3, '/').nth(2)).map(str::to_owned).collect()
}

#[test]
fn the_house_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = BTreeMap::new();
    for folder in ["src", "tests", "examples", "benches", "xtask", "migrations"] {
        walk(root, folder, &mut files);
    }
    assert!(files.contains_key("src/lib.rs"), "looked in the wrong place");
    let mut found = problems(&files);
    found.extend(migration_problems(&steps(root, "postgres"), &steps(root, "sqlite")));
    found.extend(dependency_problems(&fs::read_to_string(root.join("Cargo.toml")).unwrap()));
    assert!(found.is_empty(), "not tidy:\n  {}", found.join("\n  "));
}

/// A planted file says where it pretends to stand and what must be said of it: all of that, and nothing else.
#[test]
fn every_planted_violation_is_found() {
    let planted = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tidy/planted");
    let mut count = 0;
    for entry in fs::read_dir(planted).unwrap() {
        let file = entry.unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        let (head, body) = text.split_once("---\n").unwrap();
        let place = head.lines().find_map(|line| line.strip_prefix("place: ")).unwrap();
        let expected = head.lines().filter_map(|line| line.strip_prefix("says: "));
        let expected: BTreeSet<String> = expected.map(|what| format!("{place}: {what}")).collect();
        let found = problems(&[(place.to_owned(), body.to_owned())].into());
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected, "{}", file.display());
        count += 1;
    }
    assert!(count >= 12, "only {count} planted files were found");
}

#[test]
fn every_line_counts_but_those_of_tests() {
    let at = |path: &str, text: String| problems(&[(path.to_owned(), text)].into());
    let code = |lines| "const A: u8 = 1;\n".repeat(lines);
    let test = "#[cfg(test)]\nmod tests {\n    use super::*;\n}\n";
    let long = vec!["src/core/long.rs: 501 lines, the wall is 500".to_owned()];
    assert_eq!(at("src/core/long.rs", code(250) + test + &code(250)), Vec::<String>::new());
    assert_eq!(at("src/core/long.rs", code(250) + test + &code(251)), long);
    assert_eq!(at("src/core/long.rs", "// @generated\n".to_owned() + &code(501)), Vec::<String>::new());
    let sql = vec!["migrations/sqlite/1_x/up.sql: 501 lines, the wall is 500".to_owned()];
    assert_eq!(at("migrations/sqlite/1_x/up.sql", "SELECT 1;\n".repeat(501)), sql);
}

#[test]
fn a_test_module_in_a_file_of_its_own_may_name_anybody() {
    let parent = ("src/core/x.rs".to_owned(), "#[cfg(test)]\n#[path = \"x_tests.rs\"]\nmod tests;\n".to_owned());
    let tests = ("src/core/x_tests.rs".to_owned(), "use std::time::Instant;\n".to_owned());
    assert_eq!(problems(&[parent, tests.clone()].into()), Vec::<String>::new());
    assert_eq!(problems(&[tests].into()).len(), 1, "without that parent it is a file like any other");
}

#[test]
fn both_backends_migrate_in_the_same_steps_and_every_dependency_has_a_place() {
    let steps = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let found = migration_problems(&steps(&["1_a/up.sql", "2_b/up.sql"]), &steps(&["1_a/up.sql", "3_c/up.sql"]));
    let said = ["migrations/sqlite/2_b/up.sql", "migrations/postgres/3_c/up.sql"];
    assert_eq!(found, said.map(|path| format!("{path}: missing; both backends migrate alike")));
    let found = dependency_problems(
        "[package]\nname = \"x\"\n\n[dependencies]\nserde = \"1\"\nleft-pad = \"1\"\n\n[features]\na = []\n",
    );
    assert_eq!(found, ["Cargo.toml: the crate `left_pad` has no row in CRATES"]);
}

#[test]
fn the_diesel_command_line_finds_the_migrations() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("diesel.toml")).unwrap();
    let folder = text.lines().find_map(|line| line.strip_prefix("dir = \"")?.strip_suffix('"')).unwrap();
    let mut steps = std::fs::read_dir(root.join(folder)).unwrap();
    assert!(steps.any(|step| step.unwrap().path().join("up.sql").is_file()), "{folder}");
}
