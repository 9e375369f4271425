//! From what the server and the driver report to the kinds that a caller treats differently: by SQLSTATE and by the
//! kind of I/O error, never by the text of a message.

use super::wire::SqlState;
use crate::store::{StoreError, StoreErrorKind, StoreOp};
use diesel::result::{DatabaseErrorKind, Error};

/// The kind of a server's error.
pub(super) fn kind_of(code: SqlState) -> StoreErrorKind {
    match &code {
        b"28P01" | b"28000" => StoreErrorKind::Authentication,
        b"3D000" => StoreErrorKind::DatabaseMissing,
        b"57014" => StoreErrorKind::Timeout,
        // A lock not to be had in time, a deadlock's victim, a serialization failure: somebody else was there.
        b"55P03" | b"40P01" | b"40001" => StoreErrorKind::Locked,
        b"25006" => StoreErrorKind::ReadOnly,
        // Starting up, or full.
        b"57P03" | b"53300" => StoreErrorKind::Unreachable,
        // The server shut down or crashed, or ended our session for idling.
        b"57P01" | b"57P02" | b"57P04" | b"57P05" | b"25P03" | [b'0', b'8', ..] => StoreErrorKind::ConnectionLost,
        _ => StoreErrorKind::Other,
    }
}

/// An error of establishing a connection.
pub(super) fn of_connect(error: tokio_postgres::Error, noted: Option<SqlState>, has_password: bool) -> StoreError {
    let code = error.code().and_then(|code| SqlState::try_from(code.code().as_bytes()).ok()).or(noted);
    let kind = match code {
        Some(code) => kind_of(code),
        // Without a word from the server and without a broken stream, only the login is left to fail.
        None if !has_password && !error.is_closed() && !is_io(&error) => StoreErrorKind::Authentication,
        None => StoreErrorKind::Unreachable,
    };
    StoreError::with_source(StoreOp::Connect, kind, error)
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

/// An error of a statement. `noted` is the code that stood on the wire; `closed` whether the connection has ended.
pub(super) fn of_query(op: StoreOp, error: Error, noted: Option<SqlState>, closed: bool) -> StoreError {
    let kind = match (&error, noted) {
        (_, Some(code)) => kind_of(code),
        (Error::DatabaseError(DatabaseErrorKind::ReadOnlyTransaction, _), None) => StoreErrorKind::ReadOnly,
        (Error::DatabaseError(kind, _), None)
            if closed
                || matches!(kind, DatabaseErrorKind::UnableToSendCommand | DatabaseErrorKind::ClosedConnection) =>
        {
            StoreErrorKind::ConnectionLost
        }
        (Error::DeserializationError(what), None) => StoreErrorKind::BadRow(what.to_string()),
        (_, None) if closed => StoreErrorKind::ConnectionLost,
        (_, None) => StoreErrorKind::Other,
    };
    StoreError::with_source(op, kind, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_that_matters_has_its_kind() {
        for (code, kind) in [
            (b"28P01", StoreErrorKind::Authentication),
            (b"3D000", StoreErrorKind::DatabaseMissing),
            (b"57014", StoreErrorKind::Timeout),
            (b"55P03", StoreErrorKind::Locked),
            (b"25006", StoreErrorKind::ReadOnly),
            (b"57P03", StoreErrorKind::Unreachable),
            (b"57P01", StoreErrorKind::ConnectionLost),
            (b"08006", StoreErrorKind::ConnectionLost),
            (b"42601", StoreErrorKind::Other),
        ] {
            assert_eq!(kind_of(*code), kind);
        }
    }
}
