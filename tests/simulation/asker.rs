//! Asks for totals while others write: each answer must be the plain sum over the minutes at the version that it names.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Mutex;

use lake_schemas::Table;
use lake_schemas::minute::Parameters;
use lake_schemas::table::Version;
use lake_store::commit::TableView;
use lake_store::{Lake, read};
use query::totals::{AsOf, Question, Totals, counted_by};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::minutes::{Counts, weigh_rows};
use crate::totals::questions::{Content, answer, asked, expected, has_answer, is_refused, sums_of};

/// Number of answers that were compared, and the wrong ones.
static COMPARED: Mutex<(usize, Vec<String>)> = Mutex::new((0, Vec::new()));

/// Returns how many answers were compared so far; an error, if one was wrong.
pub fn answers() -> Result<usize, String> {
    let compared = COMPARED.lock().expect("no panic under the lock");
    compared.1.first().map_or(Ok(compared.0), |wrong| Err(wrong.clone()))
}

/// Counts in files, by the paths of the files.
pub type Read = HashMap<String, Counts>;

/// Asks some questions of a lake, and compares with everything that was ever in it.
pub async fn ask(lake: &Lake, history: &Lake, read: &mut Read, rng: &mut ChaCha8Rng) -> Result<(), String> {
    let totals = Totals::new(lake.clone()).map_err(|error| error.to_string())?;
    for _ in 0..rng.random_range(1..6) {
        let newest = TableView::newest(history, Table::ClicksMinute).await.map_err(|error| error.to_string())?;
        let newest = newest.ok_or("no minutes yet")?.version();
        let question = asked(rng, &content_at(history, read, newest).await);
        let as_of = if rng.random_ratio(1, 3) { AsOf::Version(rng.random_range(0..=newest)) } else { AsOf::Newest };
        let asked = Question { as_of, ..question };
        let answer = match answer(&totals, &asked).await {
            Ok(answer) => answer,
            Err(why) => {
                // It is of a version that counts by other dimensions than the newest did.
                let last = TableView::newest(history, Table::ClicksMinute).await.map_err(|error| error.to_string())?;
                let last = last.map_or(newest, |view| view.version());
                let versions = if let AsOf::Version(version) = as_of { version..=version } else { newest..=last };
                let mut contents = Vec::new();
                for version in versions {
                    contents.push(content_at(history, read, version).await);
                }
                if is_refused(&why, contents.iter(), &asked) {
                    continue;
                }
                return Err(why);
            }
        };
        let content = content_at(history, read, answer.at.minutes).await;
        if !has_answer(&content, &asked) {
            return Err(format!("{asked:?} has an answer at {}", answer.at));
        }
        let (found, expected) = (sums_of(&answer.rows, asked.granularity), expected(&content, &asked));
        let mut compared = COMPARED.lock().expect("no panic under the lock");
        compared.0 += 1;
        if found != expected {
            compared.1.push(format!("{asked:?} at {}: {found:?}, not {expected:?}", answer.at));
        }
    }
    Ok(())
}

/// Returns the content of the minutes at a version. A file is read once, because it never changes.
async fn content_at(lake: &Lake, read: &mut Read, version: Version) -> Content {
    let table = Table::ClicksMinute;
    let newest = TableView::newest(lake, table).await.expect("memory").expect("it is there");
    let view = newest.at(version).await.expect("it is there");
    let parameters = Parameters::recorded(table, view.properties()).expect("they are recorded");
    let (schema, store) = (parameters.schema(table), lake.log_store(table.name()).expect("memory").object_store(None));
    let mut counts = Counts::new();
    for file in view.live_files().await.expect("memory") {
        let of_file = match read.entry(file.path.clone()) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(lacking) => {
                let mut of_file = Counts::new();
                for rows in read::all_rows(store.clone(), table, schema.clone(), file).await.expect("memory") {
                    weigh_rows(&mut of_file, &rows, 1);
                }
                lacking.insert(of_file)
            }
        };
        for (window, sums) in of_file {
            let total = counts.entry(window.clone()).or_default();
            total.iter_mut().zip(sums).for_each(|(total, sum)| *total += *sum);
        }
    }
    Content { dimensions: counted_by(&parameters), counts }
}
