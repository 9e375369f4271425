use super::*;

fn at(seconds: u64) -> WallClock {
    Arc::new(move || UNIX_EPOCH + Duration::from_secs(seconds))
}

fn signed(secret: &str, seconds: u64) -> String {
    let signer = Signer::new(&Secret::new(secret), at(seconds)).unwrap();
    signer.header().unwrap().to_str().unwrap().to_owned()
}

fn judged(authorization: Option<&str>, seconds: u64) -> Result<(), AuthError> {
    let mut metadata = MetadataMap::new();
    if let Some(value) = authorization {
        metadata.insert("authorization", value.parse().unwrap());
    }
    Verifier::with_clock(&Secret::new("secret"), at(seconds)).verify(&metadata)
}

#[test]
fn a_signature_is_the_hmac_of_the_time() {
    // Known answer: `printf 1000000000 | openssl dgst -sha256 -hmac secret`.
    let expected = "4d171b6d72e0f5bc62d491bed174687be044c6a06207aa9f0cb291ff7e8654a5";
    assert_eq!(signed("secret", 1_000_000_000), format!("Bearer v2.{expected}.1000000000"));
    let header = Signer::new(&Secret::new("secret"), at(1)).unwrap().header().unwrap();
    assert!(header.is_sensitive() && format!("{header:?}") == "Sensitive");
}

#[test]
fn a_signature_is_good_for_half_a_minute_either_way() {
    let header = signed("secret", 1_000);
    for (now, expected) in [
        (1_000, Ok(())),
        (1_030, Ok(())),
        (1_031, Err(AuthError::TooOld)),
        (970, Ok(())),
        (969, Err(AuthError::TooNew)),
    ] {
        assert_eq!(judged(Some(&header), now), expected, "at {now}");
    }
}

#[test]
fn each_way_to_be_wrong_is_told_apart_here_and_not_to_the_caller() {
    let good = signed("secret", 1_000);
    let (head, _) = good.rsplit_once('.').unwrap();
    let signing = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
    let hex: String = hmac::sign(&signing, b"soon").as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let cases = [
        (None, AuthError::Missing),
        (Some("v2".to_owned()), AuthError::Malformed),
        (Some("Bearer secret".to_owned()), AuthError::Malformed),
        (Some(good.replace("Bearer", "Basic")), AuthError::Malformed),
        (Some(good.replace("v2.", "v1.")), AuthError::WrongVersion),
        (Some(signed("other", 1_000)), AuthError::WrongSignature),
        (Some(format!("{head}.1001")), AuthError::WrongSignature),
        (Some("Bearer v2.zz.1000".to_owned()), AuthError::WrongSignature),
        (Some("Bearer v2.abc.1000".to_owned()), AuthError::WrongSignature),
        (Some(format!("Bearer v2.{hex}.soon")), AuthError::NoTimestamp),
    ];
    for (header, expected) in cases {
        let error = judged(header.as_deref(), 1_000).unwrap_err();
        assert_eq!(error, expected, "{header:?}");
        let status = Status::from(error);
        let message = match expected {
            AuthError::Missing | AuthError::Malformed => (tonic::Code::Unauthenticated, "authentication required"),
            _ => (tonic::Code::PermissionDenied, "permission denied"),
        };
        assert_eq!((status.code(), status.message()), message);
    }
}

#[test]
fn an_empty_secret_signs_nothing_and_lets_nobody_in() {
    assert!(Signer::new(&Secret::new(""), at(1_000)).is_none());
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"");
    let hex: String = hmac::sign(&key, b"1000").as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut metadata = MetadataMap::new();
    metadata.insert("authorization", format!("Bearer v2.{hex}.1000").parse().unwrap());
    let verifier = Verifier::with_clock(&Secret::new(""), at(1_000));
    assert_eq!(verifier.verify(&metadata), Err(AuthError::WrongSignature));
}
