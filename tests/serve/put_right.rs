//! Law: a table that another program made unreadable is served again as soon as it is repaired, without a restart; and
//! foreign changes of its rows are logged.

use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use lake_schemas::Table;
use lake_store::Lake;
use tokio::time::{Instant, sleep};

use super::answers::{NEWS_MAX, has_heard_of};
use super::server::Server;
use crate::simulation::simulate;
use crate::start_up::folder;
use crate::totals::others::{ENGINE, Others, WAY_OUT, files_of};
use crate::totals::world::World;

/// Waits until something is logged.
async fn says(server: &Server, words: &str) {
    let began = Instant::now();
    while !server.said().contains(words) {
        assert!(began.elapsed() < NEWS_MAX, "{words:?} is not said:\n{}", server.said());
        sleep(Duration::from_millis(20)).await;
    }
}

/// Checks that the total of an ad is what SQL answers by now.
async fn is_served(server: &Server, lake: &Lake) {
    let sql = "select coalesce(sum(clicks), 0) from clicks_minute where ad_id = 'ad_id-a'";
    let rows = query::run(lake, sql).await.expect("it can be read");
    let clicks = rows[0].column(0).as_primitive::<Int64Type>().value(0);
    let total = server.get("/v1/total?ad=ad_id-a", None).await.json();
    assert_eq!(total["rows"][0]["clicks"], clicks, "{total}");
}

#[test]
fn a_table_that_was_refused_is_served_again_and_what_others_do_is_said() {
    let (_folder, path) = folder();
    let lake = Lake::at(&path).expect("a lake");
    simulate(async {
        let mut world = World::of_seed(3).await.moved_to(lake.clone()).await;
        for _ in 0..4 {
            world.append().await;
        }
    });
    let (runtime, server) = (tokio::runtime::Runtime::new().expect("a runtime"), Server::start(&path, &[]));
    runtime.block_on(async {
        let files = files_of(&lake, Table::ClicksMinute).await;
        let mut others = Others::of(&lake, Table::ClicksMinute).await;
        has_heard_of(&server, others.newest()).await;
        others.turn_vectors_on().await;
        others.delete_by_vector(&files[0]).await;
        says(&server, WAY_OUT).await;
        others.purge(&files[0]).await;
        others.turn_vectors_off().await;
        has_heard_of(&server, others.newest()).await;
        is_served(&server, &lake).await;
        others.delete(&files[1]).await;
        has_heard_of(&server, others.newest()).await;
        is_served(&server, &lake).await;
        says(&server, &format!("DELETE by {ENGINE}")).await;
    });
}
