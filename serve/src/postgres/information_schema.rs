//! Lists `information_schema` as PostgreSQL has it: with its names of types, and positions that count from 1.
//! DataFusion's own has Arrow's names, and programs take all columns for ones of an unknown type.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::error::Result;
use datafusion_postgres::arrow_pg::datatypes::field_into_pg_type;
use datafusion_postgres::pgwire::api::Type;
use query::sql::{CATALOG, SCHEMA};

use super::catalog::{INFORMATION_SCHEMA, Listed, PG_CATALOG};
use super::settings::ROLE;
use super::tables::{batch, listed, of_rows, schema};

/// Tables without rows: nothing has a constraint, a privilege or a domain here.
const EMPTY: &str = include_str!("information_schema.txt");

/// Schemas of these tables, by name.
static SCHEMAS: LazyLock<BTreeMap<&'static str, SchemaRef>> = LazyLock::new(|| listed(EMPTY));

/// Tables with rows, which are built below.
const FILLED: [&str; 5] = ["tables", "columns", "schemata", "character_sets", "information_schema_catalog_name"];

/// Standard SQL's tables about tables.
#[derive(Clone, Debug)]
pub(super) struct InformationSchema(pub Listed);

#[async_trait]
impl SchemaProvider for InformationSchema {
    fn table_names(&self) -> Vec<String> {
        SCHEMAS.keys().copied().chain(FILLED).map(str::to_owned).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match name {
            "tables" => self.tables().map(Some),
            "columns" => self.columns().map(Some),
            "schemata" => schemata().map(Some),
            "character_sets" => character_sets().map(Some),
            "information_schema_catalog_name" => {
                let columns = schema("catalog_name name");
                of_rows(batch(&columns, 1, HashMap::from([("catalog_name", all(CATALOG, 1))]))?).map(Some)
            }
            name => {
                let Some(columns) = SCHEMAS.get(name) else { return Ok(None) };
                of_rows(RecordBatch::new_empty(Arc::clone(columns))).map(Some)
            }
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        FILLED.contains(&name) || SCHEMAS.contains_key(name)
    }
}

impl InformationSchema {
    fn tables(&self) -> Result<Arc<dyn TableProvider>> {
        let columns = schema(
            "table_catalog name, table_schema name, table_name name, table_type text, \
             self_referencing_column_name name, reference_generation text, user_defined_type_catalog name, \
             user_defined_type_schema name, user_defined_type_name name, is_insertable_into text, is_typed text, \
             commit_action text",
        );
        let lake = self.0.tables().into_iter().map(|(name, _)| (SCHEMA, name, "BASE TABLE"));
        let own = self.table_names().into_iter().map(|name| (INFORMATION_SCHEMA, name, "VIEW"));
        let rows: Vec<_> = lake.chain(own).collect();
        let filled = HashMap::from([
            ("table_catalog", all(CATALOG, rows.len())),
            ("table_schema", texts(rows.iter().map(|(schema, ..)| Some(*schema)))),
            ("table_name", texts(rows.iter().map(|(_, name, _)| Some(name.as_str())))),
            ("table_type", texts(rows.iter().map(|(.., kind)| Some(*kind)))),
            ("is_insertable_into", all("NO", rows.len())),
            ("is_typed", all("NO", rows.len())),
        ]);
        of_rows(batch(&columns, rows.len(), filled)?)
    }

    fn columns(&self) -> Result<Arc<dyn TableProvider>> {
        let columns = schema(
            "table_catalog name, table_schema name, table_name name, column_name name, ordinal_position int4, \
             column_default text, is_nullable text, data_type text, character_maximum_length int4, \
             character_octet_length int4, numeric_precision int4, numeric_precision_radix int4, numeric_scale int4, \
             datetime_precision int4, interval_type text, interval_precision int4, character_set_catalog name, \
             character_set_schema name, character_set_name name, collation_catalog name, collation_schema name, \
             collation_name name, domain_catalog name, domain_schema name, domain_name name, udt_catalog name, \
             udt_schema name, udt_name name, scope_catalog name, scope_schema name, scope_name name, \
             maximum_cardinality int4, dtd_identifier text, is_self_referencing text, is_identity text, \
             identity_generation text, identity_start text, identity_increment text, identity_maximum text, \
             identity_minimum text, identity_cycle text, is_generated text, generation_expression text, \
             is_updatable text",
        );
        let mut rows = Vec::new();
        for (table, schema) in self.0.tables() {
            for (place, field) in (1_i32..).zip(schema.fields()) {
                rows.push(Column::of(table.clone(), place, field));
            }
        }
        let count = rows.len();
        let numbers =
            |of: fn(&Column) -> Option<i32>| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<Int32Array>()) };
        let filled = HashMap::from([
            ("table_catalog", all(CATALOG, count)),
            ("table_schema", all(SCHEMA, count)),
            ("table_name", texts(rows.iter().map(|row| Some(row.table.as_str())))),
            ("column_name", texts(rows.iter().map(|row| Some(row.name.as_str())))),
            ("ordinal_position", numbers(|row| Some(row.place))),
            ("is_nullable", texts(rows.iter().map(|row| Some(yes(row.is_nullable))))),
            ("data_type", texts(rows.iter().map(|row| Some(name_of(&row.kind))))),
            ("character_octet_length", numbers(|row| (row.kind == Type::TEXT).then_some(1 << 30))),
            ("numeric_precision", numbers(|row| precision(&row.kind).map(|(precision, ..)| precision))),
            ("numeric_precision_radix", numbers(|row| precision(&row.kind).map(|(_, radix, _)| radix))),
            ("numeric_scale", numbers(|row| precision(&row.kind).and_then(|(.., scale)| scale))),
            ("datetime_precision", numbers(|row| matches!(row.kind, Type::TIMESTAMP | Type::TIMESTAMPTZ).then_some(6))),
            ("udt_catalog", all(CATALOG, count)),
            ("udt_schema", all(PG_CATALOG, count)),
            ("udt_name", texts(rows.iter().map(|row| Some(row.kind.name())))),
            ("dtd_identifier", texts(rows.iter().map(|row| Some(row.number.as_str())))),
            ("is_self_referencing", all("NO", count)),
            ("is_identity", all("NO", count)),
            ("identity_cycle", all("NO", count)),
            ("is_generated", all("NEVER", count)),
            ("is_updatable", all("NO", count)),
        ]);
        of_rows(batch(&columns, count, filled)?)
    }
}

/// One column of a table of the lake.
struct Column {
    table: String,
    name: String,
    place: i32,
    number: String,
    is_nullable: bool,
    kind: Type,
}

impl Column {
    fn of(table: String, place: i32, field: &FieldRef) -> Self {
        // A column of a type that PostgreSQL lacks is shown as text.
        let kind = match field.data_type() {
            DataType::Null => Type::TEXT,
            _ => field_into_pg_type(field).unwrap_or(Type::TEXT),
        };
        let (name, number) = (field.name().clone(), place.to_string());
        Self { table, name, place, number, is_nullable: field.is_nullable(), kind }
    }
}

/// Returns SQL's name of a type, where that differs from `pg_type`'s.
fn name_of(kind: &Type) -> &str {
    match *kind {
        Type::BOOL => "boolean",
        Type::CHAR => "\"char\"",
        Type::INT2 => "smallint",
        Type::INT4 => "integer",
        Type::INT8 => "bigint",
        Type::FLOAT4 => "real",
        Type::FLOAT8 => "double precision",
        Type::VARCHAR => "character varying",
        Type::TIMESTAMP => "timestamp without time zone",
        Type::TIMESTAMPTZ => "timestamp with time zone",
        Type::TIME => "time without time zone",
        _ if kind.name().starts_with('_') => "ARRAY",
        _ => kind.name(),
    }
}

/// Returns the digits of a number type, their radix, and how many stand behind the point.
fn precision(kind: &Type) -> Option<(i32, i32, Option<i32>)> {
    match *kind {
        Type::INT2 => Some((16, 2, Some(0))),
        Type::INT4 => Some((32, 2, Some(0))),
        Type::INT8 => Some((64, 2, Some(0))),
        Type::FLOAT4 => Some((24, 2, None)),
        Type::FLOAT8 => Some((53, 2, None)),
        _ => None,
    }
}

fn schemata() -> Result<Arc<dyn TableProvider>> {
    let columns = schema(
        "catalog_name name, schema_name name, schema_owner name, default_character_set_catalog name, \
         default_character_set_schema name, default_character_set_name name, sql_path text",
    );
    let schemas = [SCHEMA, PG_CATALOG, INFORMATION_SCHEMA];
    let filled = HashMap::from([
        ("catalog_name", all(CATALOG, schemas.len())),
        ("schema_name", texts(schemas.map(Some).into_iter())),
        ("schema_owner", all(ROLE, schemas.len())),
    ]);
    of_rows(batch(&columns, schemas.len(), filled)?)
}

fn character_sets() -> Result<Arc<dyn TableProvider>> {
    let columns = schema(
        "character_set_catalog name, character_set_schema name, character_set_name name, character_repertoire name, \
         form_of_use name, default_collate_catalog name, default_collate_schema name, default_collate_name name",
    );
    let filled = HashMap::from([
        ("character_set_name", all("UTF8", 1)),
        ("character_repertoire", all("UCS", 1)),
        ("form_of_use", all("UTF8", 1)),
        ("default_collate_catalog", all(CATALOG, 1)),
        ("default_collate_schema", all(PG_CATALOG, 1)),
        ("default_collate_name", all("C", 1)),
    ]);
    of_rows(batch(&columns, 1, filled)?)
}

fn texts<'a>(texts: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(texts.collect::<StringArray>())
}

/// Returns the same text in each of `rows` rows.
fn all(text: &str, rows: usize) -> ArrayRef {
    texts(std::iter::repeat_n(Some(text), rows))
}

fn yes(is: bool) -> &'static str {
    if is { "YES" } else { "NO" }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Field, TimeUnit};

    use super::*;

    #[test]
    fn types_are_called_as_postgresql_calls_them() {
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let list = DataType::new_list(DataType::Utf8, true);
        for (kind, name, udt) in [
            (DataType::Utf8View, "text", "text"),
            (DataType::Int64, "bigint", "int8"),
            (DataType::Int32, "integer", "int4"),
            (DataType::Boolean, "boolean", "bool"),
            (DataType::Date32, "date", "date"),
            (utc, "timestamp with time zone", "timestamptz"),
            (list, "ARRAY", "_text"),
        ] {
            let column = Column::of("clicks".to_owned(), 1, &Arc::new(Field::new("a", kind, true)));
            assert_eq!((name_of(&column.kind), column.kind.name()), (name, udt));
        }
    }

    #[test]
    fn tables_without_rows_have_their_columns() {
        assert_eq!(SCHEMAS.len(), EMPTY.lines().count());
        for (name, columns) in SCHEMAS.iter() {
            assert!(columns.fields().len() >= 3 && !FILLED.contains(name), "{name}");
        }
    }
}
