//! Where the database is: one address, whole or in parts.

use super::MINIMAL;
use crate::config::*;

fn postgres(section: &str) -> Result<Config, ConfigError> {
    Config::from_toml(&format!(
        "{}\n[database]\n{section}",
        MINIMAL.replace("database.url = \"sqlite:quorate.db\"", "")
    ))
}

#[test]
fn an_address_in_parts_is_one_address() {
    let config = postgres(
        r#"
        host = "a, ::1 ,/run/postgresql"
        port = 5433
        user = "me"
        password = "a/b"
        dbname = "praefect_production"
        [database.session_pooled]
        host = "direct"
        "#,
    )
    .unwrap();
    let hosts = "a:5433,[::1]:5433,%2Frun%2Fpostgresql:5433";
    assert_eq!(config.database.url.expose(), format!("postgres://me:a%2Fb@{hosts}/praefect_production"));
    let session = config.database.session_pooled.unwrap();
    assert_eq!(session.expose(), "postgres://me:a%2Fb@direct:5433/praefect_production", "key by key from `database`");
}

#[test]
fn a_password_comes_from_a_file_and_a_file_that_has_none_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (full, empty) = (folder.path().join("password"), folder.path().join("empty"));
    std::fs::write(&full, "hunter2\n").unwrap();
    std::fs::write(&empty, "\n").unwrap();
    let with = |path: &std::path::Path| postgres(&format!("url = \"postgres://u@h/d\"\npassword_file = {path:?}"));
    assert_eq!(with(&full).unwrap().database.url.expose(), "postgres://u:hunter2@h/d");
    assert!(with(&empty).unwrap_err().to_string().contains("it must hold the password"));
    let missing = with(&folder.path().join("missing")).unwrap_err().to_string();
    assert!(missing.contains("database.password_file") && missing.contains("cannot be read"), "{missing}");
}

#[test]
fn an_address_that_says_two_things_or_half_of_one_is_refused() {
    for (section, key, word) in [
        ("", "database.url", "is missing"),
        ("host = \"h\"", "database.user", "is missing"),
        ("host = \"h\"\nuser = \"u\"", "database.dbname", "is missing"),
        ("url = \"postgres://u@h/d\"\nhost = \"h\"", "database.host", "beside `url`"),
        ("url = \"postgres://u:hunter2@h/d\"\npassword = \"x\"", "database.url", "holds a password already"),
        ("url = \"postgres://h/d\"\npassword = \"hunter2\"", "database.url", "names no user"),
        ("url = \"sqlite:x\"\npassword = \"hunter2\"", "database.url", "nothing else takes a password"),
        (
            "url = \"postgres://u@h/d\"\npassword = \"hunter2\"\npassword_file = \"x\"",
            "database.password_file",
            "beside",
        ),
        ("url = \"sqlite:x\"\nsession_pooled.url = \"sqlite:x\"", "database.session_pooled", "PostgreSQL"),
        ("url = \"postgres://u@h/d\"\nsslmode = \"require\"", "database.sslmode", "TLS to the database"),
        ("url = \"postgres://u@h/d\"\nhost_no_proxy = \"x\"", "database.host_no_proxy", "session_pooled.host"),
    ] {
        let error = postgres(section).unwrap_err();
        let told = error.problems.iter().any(|problem| problem.key == key && problem.what.contains(word));
        assert!(told, "{section}: {key} {word}\n{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
