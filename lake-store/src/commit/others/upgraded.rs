//! Laws of upgrades: a table gets what it lacks and keeps everything else, whoever added it, and no row changes.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use deltalake::kernel::Action;
use lake_schemas::error::AS_IT_WAS;
use lake_schemas::history::PROPERTY_BACKFILL;
use lake_schemas::minute::{Dimension, Parameters};
use lake_schemas::spec::PROPERTY_SPEC;
use lake_schemas::table::{Definition, FORMAT, PROPERTY_FORMAT};
use lake_schemas::{Code, Measure, Measures, Table};
use serde_json::json;

use super::{action, append, definition, lake, open, put, refused, with_column};
use crate::commit::definition::check;
use crate::commit::shape::Shape;
use crate::commit::{Changed, Commit, Outcome, TableLog};
use crate::error::LakeError;

/// Returns a definition with one more column, which no table has yet.
fn with_added(definition: &Definition, name: &str) -> Definition {
    let known = definition.schema.fields().iter().map(|field| field.as_ref().clone());
    let fields: Vec<_> = known.chain([Field::new(name, DataType::Utf8, true)]).collect();
    Definition { schema: Arc::new(Schema::new(fields)), added: definition.added + 1, ..definition.clone() }
}

/// Returns the shape of a table after it got another definition.
fn redefined(shape: &Shape, before: &Definition, after: &Definition) -> Shape {
    let metadata = Action::Metadata(shape.redefined(before, after).expect("a definition"));
    shape.after(after.table, &[metadata]).expect("it is understood").expect("it is another")
}

fn names(shape: &Shape) -> Vec<&str> {
    shape.columns.fields().map(|column| column.name().as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_format_that_is_none_is_refused_with_what_to_do() {
    for format in ["0", "-1", "two"] {
        let (lake, store) = lake();
        drop(open(&lake).await);
        put(&store, Table::Clicks, 1, &[definition(&store, Table::Clicks, &[(PROPERTY_FORMAT, format)]).await]).await;
        let words = ["clicks", PROPERTY_FORMAT, format, AS_IT_WAS];
        refused(TableLog::find(&lake, Table::Clicks).await, Code::PropertyUnreadable, &words);
        refused(TableLog::find_to_read(&lake, Table::Clicks).await, Code::PropertyUnreadable, &words);
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_gets_what_it_lacks_and_keeps_all_else() {
    for table in Table::ALL {
        let (lake, store) = lake();
        let dimensions = vec![Dimension::of(lake_schemas::Field::Device)];
        let parameters = Parameters { dimensions, measures: Measures::of_format_1(), ..Parameters::default() };
        let made = if table.is_counts() { parameters.definition(table) } else { table.definition() };
        drop(TableLog::open_or_make(&lake, &made).await.expect("a table"));
        let mut metadata = with_column(&store, table, "note", true).await;
        let properties = &mut metadata["metaData"]["configuration"];
        properties["owner"] = json!("billing");
        // Properties beside the spec: the part of history that was computed, and the bound for events ahead of their
        // message.
        properties[PROPERTY_BACKFILL] = json!("as it was");
        properties["clicklake.time_in_future_ms"] = json!("7");
        put(&store, table, 1, &[metadata]).await;
        let mut log = TableLog::find(&lake, table).await.expect("memory").expect("it is there");
        let lacking = log.lacking().expect("it is told").expect("it lacks its format");
        assert_eq!((lacking.format, lacking.spec), (Some(1), table.is_counts()), "{table}");
        let added = Measure::ALL.into_iter().skip(Measure::OF_FORMAT_1).map(Measure::column);
        let added: Vec<_> = added.filter(|_| table.is_counts()).collect();
        assert_eq!(lacking.columns, added, "{table}");
        let mut beside = TableLog::find(&lake, table).await.expect("memory").expect("it is there");
        assert_eq!(log.upgrade().await.expect("memory"), 2);
        assert_eq!(log.lacking().expect("it is told"), None, "{table}");
        log.refresh().await.expect("its own upgrade makes no other table of it");
        assert!(matches!(beside.refresh().await, Err(LakeError::Altered(_))), "who works on it begins again");
        let again = TableLog::find(&lake, table).await.expect("memory").expect("it is there");
        assert_eq!(again.lacking().expect("it is told"), None, "{table}");
        assert_eq!(again.further_columns().into_keys().collect::<Vec<_>>(), ["note"]);
        let recorded = again.properties();
        assert_eq!(recorded[PROPERTY_FORMAT], FORMAT.to_string());
        assert_eq!((recorded["owner"].as_str(), recorded[PROPERTY_BACKFILL].as_str()), ("billing", "as it was"));
        assert_eq!(recorded["clicklake.time_in_future_ms"], "7");
        // Nothing was counted yet, so all measures are counted from the start.
        let upgraded = parameters.with_all_measures();
        let spec = upgraded.definition(table).spec.filter(|_| table.is_counts());
        assert_eq!(recorded.get(PROPERTY_SPEC), spec.as_ref());
        if table.is_counts() {
            assert_eq!(again.parameters().expect("its own"), upgraded);
            assert_eq!(recorded["clicklake.dimensions"], "device", "other people's programs look there");
        }
        assert_eq!(again.changed(1, 2).await.expect("memory"), Changed::Folders([].into()), "no row changed");
        assert_eq!(action(&store, table, 2, "commitInfo").await["commitInfo"]["clicklake"]["job"], "upgrade");
    }
}

#[tokio::test(start_paused = true)]
async fn a_promotion_into_an_upgraded_table_records_the_spec_of_what_was_promoted() {
    let (lake, _) = lake();
    let table = Table::ClicksMinute;
    let mut log = TableLog::open(&lake, table).await.expect("a table");
    log.upgrade().await.expect("memory");
    let parameters =
        Parameters { dimensions: vec![Dimension::of(lake_schemas::Field::Country)], ..Parameters::default() };
    let commit = Commit { definition: Some(parameters.definition(table)), ..Commit::new("promote") };
    assert_eq!(log.commit(&commit).await.expect("memory"), Outcome::Committed(2));
    let again = TableLog::open(&lake, table).await.expect("the table");
    assert_eq!(again.parameters().expect("its own"), parameters);
    assert_eq!(again.properties()[PROPERTY_FORMAT], FORMAT.to_string());
    assert_eq!(again.lacking().expect("it is told"), None);
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_goes_onto_what_others_have_committed_meanwhile() {
    let (lake, _) = lake();
    let (mut log, mut upgrading) = (open(&lake).await, open(&lake).await);
    append(&mut log, 0, 10).await;
    assert_eq!(upgrading.upgrade().await.expect("memory"), 2);
    // The job that has not noticed the upgrade finds out before it writes.
    let commit = super::epoch(&log, 0, 20).await;
    assert!(matches!(log.commit(&commit).await, Err(LakeError::Altered(_))));
    let mut log = open(&lake).await;
    append(&mut log, 0, 20).await;
    assert_eq!(log.version(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_column_that_was_added_may_be_lacking_and_comes_to_the_end() {
    let (lake, store) = lake();
    let table = Table::Clicks;
    drop(open(&lake).await);
    put(&store, table, 1, &[with_column(&store, table, "note", true).await]).await;
    let log = open(&lake).await;
    let (before, shape) = (log.terms.definition().clone(), log.terms.shape().clone());
    let after = with_added(&before, "network");
    check(&after, &shape).expect("older tables lack it");
    assert_eq!(shape.lacks(&after), ["network"]);
    let upgraded = redefined(&shape, &before, &after.clone().in_format(FORMAT));
    assert_eq!(upgraded.lacks(&after), [""; 0]);
    assert!(upgraded.has_got_columns(&shape, &after) && !shape.has_got_columns(&shape, &after));
    let expected: Vec<_> = names(&shape).into_iter().chain(["network"]).collect();
    assert_eq!(names(&upgraded), expected, "behind the columns of others");
    // A later definition moves no column, and loses none that an older program does not know.
    assert_eq!(
        names(&redefined(&upgraded, &after, &with_added(&after, "later"))),
        [expected.as_slice(), &["later"]].concat()
    );
    assert_eq!(names(&redefined(&upgraded, &before, &before)), expected);
}

#[tokio::test(start_paused = true)]
async fn a_column_of_another_type_and_a_first_one_that_is_gone_are_refused() {
    let (lake, store) = lake();
    let table = Table::Clicks;
    drop(open(&lake).await);
    let mut metadata = with_column(&store, table, "network", true).await;
    let text = metadata["metaData"]["schemaString"].as_str().expect("text").to_owned();
    let added = r#""name":"network","nullable":true,"type":"string""#;
    assert!(text.contains(added), "{text}");
    metadata["metaData"]["schemaString"] =
        json!(text.replace(added, r#""name":"network","nullable":true,"type":"long""#));
    put(&store, table, 1, &[metadata.clone()]).await;
    let log = open(&lake).await;
    let after = with_added(log.terms.definition(), "network");
    refused(check(&after, log.terms.shape()), Code::ColumnUnfit, &["network", "long", "not string"]);
    metadata["metaData"]["schemaString"] = json!(text.replace("\"campaign_id\"", "\"campaign\""));
    put(&store, table, 2, &[metadata]).await;
    refused(TableLog::find(&lake, table).await, Code::ColumnUnfit, &["clicks", "lacks the column campaign_id"]);
}
