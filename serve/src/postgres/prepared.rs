//! Prepared statements: their purpose, parameters and columns. The plan is not kept: each execution sees the lake as it
//! is then.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion_postgres::arrow_pg::datatypes::into_pg_type;
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::FieldInfo;
use datafusion_postgres::pgwire::api::stmt::QueryParser;
use datafusion_postgres::pgwire::api::{ClientInfo, Type};
use datafusion_postgres::pgwire::error::PgWireResult;

use super::answers::Answers;
use super::errors::Refused;
use super::names::{as_written, call_as_written, named};
use super::parameters;
use super::placed;
use super::rows::fields;
use super::statements::{Asks, read};

/// A statement that is prepared.
pub(super) struct Prepared {
    /// Purpose of the statement.
    pub asks: Asks,
    /// Types of its parameters, as far as they are known.
    pub parameters: Vec<Option<DataType>>,
    /// Parameters whose type the statement gives, from 1.
    said: BTreeSet<usize>,
    /// Columns of its answer, if it has any.
    pub schema: Option<SchemaRef>,
}

impl Prepared {
    /// Returns whether the statement gives the type of a parameter, from 0.
    pub fn says(&self, place: usize) -> bool {
        self.said.contains(&(place + 1))
    }
}

/// Description of a statement before it has values.
struct Described {
    parameters: Vec<Option<DataType>>,
    /// Parameters whose type the statement gives, from 1.
    said: BTreeSet<usize>,
    columns: SchemaRef,
}

impl Answers {
    async fn describe(&self, statement: &Statement, travels: usize) -> PgWireResult<Described> {
        let count = parameters::count(statement)?;
        let planned = parameters::filled(statement.clone(), None)?;
        let plan = self.plan(planned, travels).await?;
        let mut types = plan.get_parameter_types().map_err(|error| self.tells(error))?;
        let (lists, said) = (parameters::lists(statement), placed::types(statement));
        let parameters = (1..=count).map(|number| {
            if let Some(said) = said.get(&number) {
                return Ok(Some(said.clone()));
            }
            let kind = types.remove(&format!("${number}")).flatten();
            if !lists.contains(&number) {
                return Ok(kind);
            }
            let element = types.remove(&parameters::elements_of(number)).flatten();
            match kind {
                None => Ok(Some(DataType::new_list(element.unwrap_or(DataType::Utf8), true))),
                Some(list @ DataType::List(_)) => Ok(Some(list)),
                Some(_) => {
                    Err(Refused::value(&format!("${number} is used as a list and as a value; use two parameters")))
                }
            }
        });
        let parameters = parameters.collect::<Result<Vec<_>, _>>()?;
        Ok(Described {
            parameters,
            said: said.into_keys().collect(),
            columns: named(self.session()?.columns(&plan), statement),
        })
    }
}

impl Answers {
    /// Describes a statement whose client gives the types of some parameters; casts these where the statement gives
    /// none.
    async fn describe_as(
        &self,
        statement: &mut Statement,
        travels: usize,
        theirs: &[Option<Type>],
    ) -> PgWireResult<Described> {
        let described = self.describe(statement, travels).await?;
        let mut casts = placed::casts(theirs, &described.parameters);
        casts.retain(|place, _| !described.said.contains(&(place + 1)));
        if casts.is_empty() {
            return Ok(described);
        }
        let names = as_written(statement);
        parameters::cast(statement, &casts);
        call_as_written(statement, &names);
        let mut described = self.describe(statement, travels).await?;
        described.said.extend(casts.into_keys().map(|place| place + 1));
        Ok(described)
    }
}

#[async_trait]
impl QueryParser for Answers {
    type Statement = Arc<Prepared>;

    async fn parse_sql<C>(&self, client: &C, text: &str, theirs: &[Option<Type>]) -> PgWireResult<Option<Arc<Prepared>>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let mut all = read(text, &self.login()?.access)?;
        let Some(mut asks) = all.pop() else { return Ok(None) };
        if !all.is_empty() {
            return Err(Refused::syntax("cannot insert multiple commands into a prepared statement").into());
        }
        self.is_going_on(client, &asks)?;
        let has_rows = matches!(asks, Asks::Rows(..));
        let mut said = BTreeSet::new();
        let (parameters, schema) = match &mut asks {
            Asks::Rows(statement, travels) | Asks::Copied(statement, travels, _) => {
                // Planning for the description takes time, as an execution does.
                let describing = self.describe_as(statement, *travels, theirs);
                let (described, _) = self.within(self.until(), describing).await?;
                said = described.said;
                (described.parameters, has_rows.then_some(described.columns))
            }
            Asks::Shown(name, _) => (Vec::new(), Some(shown_in(name))),
            Asks::Fetch(name, _) => (Vec::new(), Some(self.cursors().schema(name)?)),
            _ => (Vec::new(), None),
        };
        Ok(Some(Arc::new(Prepared { asks, parameters, said, schema })))
    }

    fn get_parameter_types(&self, prepared: &Arc<Prepared>) -> PgWireResult<Vec<Type>> {
        prepared.parameters.iter().map(|parameter| wire_type(parameter.as_ref())).collect()
    }

    fn get_result_schema(&self, prepared: &Arc<Prepared>, format: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        let Some(schema) = &prepared.schema else { return Ok(Vec::new()) };
        fields(schema, format.unwrap_or(&Format::UnifiedText))
    }
}

/// Returns the column in which a setting is shown.
pub(super) fn shown_in(name: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(name, DataType::Utf8, false)]))
}

/// Returns the type of a parameter on the wire; unknown types are text.
pub(super) fn wire_type(parameter: Option<&DataType>) -> PgWireResult<Type> {
    match parameter {
        None => Ok(Type::TEXT),
        Some(DataType::UInt32) => Ok(Type::OID),
        Some(DataType::List(of)) if *of.data_type() == DataType::UInt32 => Ok(Type::OID_ARRAY),
        Some(kind) => into_pg_type(kind),
    }
}
