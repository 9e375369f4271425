//! What must never be shown.

use super::MINIMAL;
use crate::config::*;

#[test]
fn a_password_is_never_shown() {
    for url in ["postgres://u:hunter2@h/d", "u-hunter2@h:5432/d"] {
        let config = Config::new(Profile::Default, url);
        assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    }
}

#[test]
fn a_password_in_the_wrong_place_is_not_quoted_back() {
    for text in [
        "[database]\nurl = \"postgres://u:hunter2@h/d",
        "[database]\nurl = postgres://u:hunter2@h/d",
        "[database]\nurl = [\"postgres://u:hunter2@h/d\"]",
        "database = \"postgres://u:hunter2@h/d\"",
        "heartbeat = \"postgres://u:hunter2@h/d\"",
        "[database]\nurl = \"u-hunter2@h:5432/d\"",
    ] {
        let error = Config::from_toml(text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{text}: {error}");
    }
}

#[test]
fn a_token_signs_and_is_never_shown() {
    let with = |token: &str| format!("{MINIMAL}\ntoken = {token}");
    let config = Config::from_toml(&with("\"hunter2\"")).unwrap();
    let node = &config.virtual_storages[0].nodes[0];
    assert_eq!(node.token.as_ref().map(Secret::expose), Some("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    assert_eq!(Config::from_toml(MINIMAL).unwrap().virtual_storages[0].nodes[0].token, None);
    for (wrong, said) in [("4711", "this integer is not allowed"), ("[\"4711\"]", "this array"), ("\"\"", "not empty")]
    {
        let error = Config::from_toml(&with(wrong)).unwrap_err().to_string();
        assert!(error.contains("virtual_storage[0].node[0].token"), "{error}");
        assert!(error.contains(said) && !error.contains("4711"), "{error}");
    }
}
