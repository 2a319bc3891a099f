//! Prepared statements: what they are for, what their parameters and columns are. The plan is not kept: each execution
//! sees the lake as it is then.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::common::ParamValues;
use datafusion::scalar::ScalarValue;
use datafusion_postgres::arrow_pg::datatypes::df::deserialize_parameters_with_server_types;
use datafusion_postgres::arrow_pg::datatypes::into_pg_type;
use datafusion_postgres::pgwire::api::portal::{Format, Portal};
use datafusion_postgres::pgwire::api::results::FieldInfo;
use datafusion_postgres::pgwire::api::stmt::QueryParser;
use datafusion_postgres::pgwire::api::{ClientInfo, Type};
use datafusion_postgres::pgwire::error::PgWireResult;

use super::answers::Answers;
use super::errors::Refused;
use super::parameters;
use super::rows::fields;
use super::statements::{Asks, read};

/// A statement that is prepared.
pub(super) struct Prepared {
    /// What it is for.
    pub asks: Asks,
    /// The types of its parameters, as far as they are known.
    pub parameters: Vec<Option<DataType>>,
    /// The columns of its answer, if it has any.
    pub schema: Option<SchemaRef>,
}

#[async_trait]
impl QueryParser for Answers {
    type Statement = Arc<Prepared>;

    async fn parse_sql<C>(&self, client: &C, text: &str, _: &[Option<Type>]) -> PgWireResult<Option<Arc<Prepared>>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let mut all = read(text, &self.login()?.sees)?;
        let Some(asks) = all.pop() else { return Ok(None) };
        if !all.is_empty() {
            return Err(Refused::syntax("cannot insert multiple commands into a prepared statement").into());
        }
        self.is_going_on(client, &asks)?;
        let (parameters, schema) = match &asks {
            Asks::Rows(statement, travels) | Asks::Copied(statement, travels, _) => {
                let count = parameters::count(statement)?;
                let planned = parameters::filled(statement.as_ref().clone(), None)?;
                let plan = self.plan(planned, *travels).await?;
                let mut types = plan.get_parameter_types().map_err(|error| self.tells(error))?;
                let lists = parameters::lists(statement);
                let parameters = (1..=count).map(|number| {
                    let kind = types.remove(&format!("${number}")).flatten();
                    if !lists.contains(&number) {
                        return Ok(kind);
                    }
                    let element = types.remove(&parameters::elements_of(number)).flatten();
                    match kind {
                        None => Ok(Some(DataType::new_list(element.unwrap_or(DataType::Utf8), true))),
                        Some(list @ DataType::List(_)) => Ok(Some(list)),
                        Some(_) => Err(Refused::value(&format!(
                            "${number} is used as a list and as a value; use two parameters"
                        ))),
                    }
                });
                let parameters = parameters.collect::<Result<Vec<_>, _>>()?;
                let session = self.session()?;
                (parameters, matches!(asks, Asks::Rows(..)).then(|| session.columns(&plan)))
            }
            Asks::Shown(name, _) => (Vec::new(), Some(shown_in(name))),
            Asks::Fetch(name, _) => (Vec::new(), Some(self.cursors().schema(name)?)),
            _ => (Vec::new(), None),
        };
        Ok(Some(Arc::new(Prepared { asks, parameters, schema })))
    }

    fn get_parameter_types(&self, prepared: &Arc<Prepared>) -> PgWireResult<Vec<Type>> {
        prepared.parameters.iter().map(wire_type).collect()
    }

    fn get_result_schema(&self, prepared: &Arc<Prepared>, format: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        let Some(schema) = &prepared.schema else { return Ok(Vec::new()) };
        fields(schema, format.unwrap_or(&Format::UnifiedText))
    }
}

/// The column that a setting is shown in.
pub(super) fn shown_in(name: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(name, DataType::Utf8, false)]))
}

/// The type of a parameter on the wire; what is not known is text.
fn wire_type(parameter: &Option<DataType>) -> PgWireResult<Type> {
    parameter.as_ref().map_or(Ok(Type::TEXT), into_pg_type)
}

/// The values that are bound to a statement.
pub(super) fn values(portal: &Portal<Arc<Prepared>>) -> PgWireResult<Vec<ScalarValue>> {
    let (statement, count) = (&portal.statement, portal.parameter_len());
    let known = &statement.statement.parameters;
    if count != known.len() {
        let why = format!("the statement has {} parameters, and {count} are bound", known.len());
        return Err(Refused::protocol(&why).into());
    }
    if let Format::Individual(formats) = &portal.parameter_format
        && formats.len() != count
    {
        return Err(Refused::protocol(
            "the parameters have a format each, or all one; there is another number of formats",
        )
        .into());
    }
    let mut types = Vec::with_capacity(count);
    for (place, kind) in known.iter().enumerate() {
        let is_said = statement.parameter_types.get(place).is_some_and(Option::is_some);
        let is_time = kind.as_ref().is_some_and(DataType::is_temporal);
        // Times are written in more ways than the wire knows: as text, the planner reads them as it does in SQL.
        let kind = kind.clone().filter(|_| is_said || !is_time || portal.parameter_format.is_binary(place));
        types.push((wire_type(&kind)?, kind));
    }
    let (wire, known): (Vec<_>, Vec<_>) = types.iter().map(|(wire, kind)| (Some(wire), kind.as_ref())).unzip();
    match deserialize_parameters_with_server_types(portal, &known, &wire)? {
        ParamValues::List(values) => Ok(values.into_iter().map(|value| value.value).collect()),
        ParamValues::Map(_) => Err(Refused::protocol("parameters have numbers, not names").into()),
    }
}
