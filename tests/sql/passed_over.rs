//! Law: no part of a statement is ignored in silence, wherever in it the part stands.

use lake_schemas::Code;
use lake_store::Lake;
use query::sql::Session;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{session, world};
use crate::simulation::{for_seeds, simulate};

/// Queries for one column `n`; the part of each that might be ignored is in brackets.
const QUERIES: [&str; 18] = [
    "select kafka_offset as n from clicks [prewhere false]",
    "select kafka_offset as n from clicks group by kafka_offset [with rollup]",
    "select kafka_offset as n from clicks group by all [with totals]",
    "select kafka_offset as n from clicks group by kafka_offset [with cube]",
    "select kafka_offset as n from clicks [start with false connect by prior kafka_offset = kafka_offset]",
    "select kafka_offset as n from clicks [connect by prior kafka_offset = 1]",
    "select kafka_offset as n from clicks [with (nolock)]",
    "select kafka_offset as n from clicks [final]",
    "select kafka_offset as n from clicks [sample 0.5]",
    "select kafka_offset as n from clicks [tablesample bernoulli (10)]",
    "select a.kafka_offset as n from clicks a [global] join clicks b on a.kafka_offset = b.kafka_offset",
    "select abs([distinct] kafka_offset) as n from clicks",
    "select abs(kafka_offset) [filter (where false)] as n from clicks",
    "select abs(kafka_offset) [over ()] as n from clicks",
    "select sum[(0.9)](kafka_offset) as n from clicks",
    "select length(cast(ad_id as varchar[(1)])) as n from clicks",
    "select length(trim('abc', 'a'[, 'b'])) as n from clicks",
    "select [/*+ none */] kafka_offset as n from clicks",
];

/// Places of a query in another one for one column `n`.
const AROUND: [&str; 12] = [
    "select n from ({}) a",
    "with a as ({}) select n from a",
    "with recursive a as ({}) select n from a",
    "select max(n) as n from ({}) a where n in ({})",
    "({}) union all select 1 as n",
    "select 1 as n union all ({})",
    "select n from ({}) a except ({})",
    "select 1 as n where exists ({})",
    "select (select max(n) from ({}) a) as n",
    "select case when n > 1 then n end as n from ({}) a order by n limit 3",
    "select a.n from ({}) a cross join ({}) b",
    "select sum(n) over (order by n) as n from ({}) a",
];

/// Statements of DataFusion around a query.
const DOES: [&str; 3] = ["{}", "explain {}", "create or replace view v as {}"];

/// Returns a statement with and without the part that might be ignored.
fn generated(random: &mut ChaCha8Rng) -> (String, String) {
    let query = *QUERIES.choose(random).expect("there are some");
    let mut with: String = query.replace(['[', ']'], "");
    let mut without = match (query.split_once('['), query.rsplit_once(']')) {
        (Some((before, _)), Some((_, after))) => format!("{before}{after}"),
        _ => panic!("{query}: nothing is in brackets"),
    };
    for _ in 0..random.random_range(0..3) {
        let around = *AROUND.choose(random).expect("there are some");
        let inner = without.clone();
        without = around.replace("{}", &inner);
        // It is enough if it stands in one place.
        with = around.replacen("{}", &with, 1).replace("{}", &inner);
    }
    let does = *DOES.choose(random).expect("there are some");
    (does.replace("{}", &with), does.replace("{}", &without))
}

#[test]
fn what_would_be_passed_over_is_refused_wherever_it_stands() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = folder.path().join("lake");
    simulate(world::write(&Lake::at(lake.to_str().expect("UTF-8")).expect("a lake"), &lake));
    for_seeds(0..60, |seed| {
        let lake = lake.clone();
        async move { one(&session(&lake), &mut ChaCha8Rng::seed_from_u64(seed)).await }
    });
}

async fn one(session: &Session, random: &mut ChaCha8Rng) -> Result<(), String> {
    let (with, without) = generated(random);
    match session.rows(&with).await {
        Ok(_) => return Err(format!("{with}: it was answered")),
        Err(why) if why.code() == Some(Code::StatementUnsupported) => {}
        Err(why) => return Err(format!("{with}: {why}")),
    }
    session.rows(&without).await.map(drop).map_err(|why| format!("{without}: {why}"))
}
