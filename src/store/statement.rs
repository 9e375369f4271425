//! A prepared statement with its binds: what both SQL stores send.
//!
//! `diesel::sql_query` is never cached, which doubles the cost of a lookup; this is the same thing, cached by its
//! text. Placeholders are written by hand: `$1` on PostgreSQL, `?1` on SQLite.

use diesel::{
    backend::Backend,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    result::QueryResult,
    serialize::ToSql,
    sql_types::{BigInt, Bool, HasSqlType, Integer, Nullable, Text, Untyped},
};

/// One bound value.
#[derive(Debug, Clone)]
pub(super) enum Bind {
    Text(String),
    OptionalText(Option<String>),
    BigInt(i64),
    OptionalBigInt(Option<i64>),
    OptionalInteger(Option<i32>),
    OptionalBool(Option<bool>),
}

/// SQL text with its binds in order.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    sql: &'static str,
    binds: Vec<Bind>,
}

impl Statement {
    pub(super) fn new(sql: &'static str) -> Self {
        Self { sql, binds: Vec::new() }
    }
    pub(super) fn text(mut self, value: impl Into<String>) -> Self {
        self.binds.push(Bind::Text(value.into()));
        self
    }
    pub(super) fn optional_text(mut self, value: Option<impl Into<String>>) -> Self {
        self.binds.push(Bind::OptionalText(value.map(Into::into)));
        self
    }
    pub(super) fn bigint(mut self, value: i64) -> Self {
        self.binds.push(Bind::BigInt(value));
        self
    }
    pub(super) fn optional_bigint(mut self, value: Option<i64>) -> Self {
        self.binds.push(Bind::OptionalBigInt(value));
        self
    }
    pub(super) fn optional_integer(mut self, value: Option<i32>) -> Self {
        self.binds.push(Bind::OptionalInteger(value));
        self
    }
    pub(super) fn optional_bool(mut self, value: Option<bool>) -> Self {
        self.binds.push(Bind::OptionalBool(value));
        self
    }
}

impl<DB> QueryFragment<DB> for Statement
where
    DB: Backend + HasSqlType<Text> + HasSqlType<BigInt> + HasSqlType<Integer> + HasSqlType<Bool>,
    String: ToSql<Text, DB>,
    i64: ToSql<BigInt, DB>,
    i32: ToSql<Integer, DB>,
    bool: ToSql<Bool, DB>,
    Option<String>: ToSql<Nullable<Text>, DB>,
    Option<i64>: ToSql<Nullable<BigInt>, DB>,
    Option<i32>: ToSql<Nullable<Integer>, DB>,
    Option<bool>: ToSql<Nullable<Bool>, DB>,
{
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        pass.push_sql(self.sql);
        for bind in &self.binds {
            match bind {
                Bind::Text(value) => pass.push_bind_param_value_only::<Text, _>(value)?,
                Bind::OptionalText(value) => pass.push_bind_param_value_only::<Nullable<Text>, _>(value)?,
                Bind::BigInt(value) => pass.push_bind_param_value_only::<BigInt, _>(value)?,
                Bind::OptionalBigInt(value) => pass.push_bind_param_value_only::<Nullable<BigInt>, _>(value)?,
                Bind::OptionalInteger(value) => pass.push_bind_param_value_only::<Nullable<Integer>, _>(value)?,
                Bind::OptionalBool(value) => pass.push_bind_param_value_only::<Nullable<Bool>, _>(value)?,
            }
        }
        Ok(())
    }
}

impl QueryId for Statement {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Statement {
    type SqlType = Untyped;
}

/// The one row of a statement that answers with a document.
#[derive(diesel::QueryableByName)]
pub(super) struct Document {
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) document: Option<String>,
}
