//! Law: queries that are too large for one process run on Spark, whose workers read the tables as they are, and give
//! the same answers.
//!
//! Ballista, which distributes DataFusion's plans, cannot do this: it sends the physical plan of each stage to its
//! executors, and delta-rs has no way to serialise its scans. Once it has one, the first of these tests fails, and the
//! recipe can change.

use std::path::Path;
use std::process::Command;

use datafusion::functions_aggregate::expr_fn::count;
use datafusion::prelude::{SessionContext, ident, lit};
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use datafusion_proto::physical_plan::{AsExecutionPlan, DefaultPhysicalExtensionCodec, PhysicalExtensionCodec};
use datafusion_proto::protobuf::PhysicalPlanNode;
use deltalake::DeltaTable;
#[expect(deprecated, reason = "there is no other")]
use deltalake::delta_datafusion::{DeltaLogicalCodec, DeltaPhysicalCodec};
use lake_store::Lake;

use super::world;
use crate::simulation::simulate;
use crate::start_up::clicklake;

fn lake_in(folder: &Path) -> String {
    let lake = folder.join("lake").to_str().expect("UTF-8").to_owned();
    simulate(world::write(&Lake::at(&lake).expect("a lake"), Path::new(&lake)));
    lake
}

#[test]
#[expect(deprecated, reason = "there is no other codec of Delta's scans")]
fn a_scan_of_a_delta_table_cannot_be_sent_to_another_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::at(&lake_in(folder.path())).expect("a lake");
    simulate(async {
        let mut table = DeltaTable::new(lake.log_store("clicks").expect("an address"));
        table.load().await.expect("a table");
        let provider = table.table_provider().await.expect("a provider");
        let context = SessionContext::new();
        context.register_table("clicks", provider).expect("a name");
        // Build the plan by hand: the SQL planner would be compiled once more for these tests.
        let clicks = context.table("clicks").await.expect("a table");
        let answer = clicks.aggregate(vec![ident("ad_id")], vec![count(lit(1))]).expect("a plan");
        // The table can be named to a scheduler, which plans the stages.
        let scan = context.table_provider("clicks").await.expect("a table");
        let mut named = Vec::new();
        let written = DeltaLogicalCodec {}.try_encode_table_provider(&"clicks".into(), scan, &mut named);
        written.expect("a table is written down");
        // The operators of the stages cannot be sent to executors.
        let plan = answer.create_physical_plan().await.expect("a plan");
        let codecs: [&dyn PhysicalExtensionCodec; 2] = [&DeltaPhysicalCodec {}, &DefaultPhysicalExtensionCodec {}];
        let whys = codecs.map(|codec| {
            let sent = PhysicalPlanNode::try_from_physical_plan(plan.clone(), codec);
            sent.expect_err("a scan cannot be written down").to_string()
        });
        assert!(whys[0].contains("Not a legacy delta scan!"), "{whys:?}");
        assert!(whys[1].contains("PhysicalExtensionCodec is not provided"), "{whys:?}");
    });
}

#[test]
fn a_spark_cluster_answers_as_we_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = lake_in(folder.path());
    let ours = |sql: &str| {
        let output = clicklake(&["sql", sql, "--format", "tsv", "--lake", &lake]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let ask = |sql: &str| {
        let mut ask = Command::new("localstack/spark/ask");
        let output = ask.args([&lake, sql]).output().expect("the script runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let of = |minutes: &str, was: &str| {
        let sums = |table: &str| format!("select ad_id, sum(clicks) as clicks from {table} group by ad_id");
        let (now, was) = (sums(minutes), sums(was));
        format!(
            "select a.ad_id, a.clicks, b.clicks as was from ({now}) a join ({was}) b on a.ad_id = b.ad_id order by 1"
        )
    };
    let theirs = ask(&of("clicks_minute", "delta.`LAKE/clicks_minute` VERSION AS OF 2"));
    assert_eq!(theirs, ours(&of("clicks_minute", "clicks_minute VERSION AS OF 2")));
    assert_eq!(theirs.lines().count(), 3, "{theirs}");
}
