//! Law: the parameters of a request are a question within bounds, or a problem that says what is wrong.

use chrono::DateTime;
use lake_schemas::minute::WINDOW_MS;
use lake_schemas::{EventTime, Field, Width};
use query::RowAccess;
use query::totals::{Question, repeated};
use serve::{Problem, RequestParameters};

/// Time of the request: 2026-03-07T12:00:00Z.
const NOON_S: i64 = 1_772_884_800;

/// Most windows of a series of minutes or hours.
const WINDOWS_MAX: i64 = 7 * 24 * 60;

/// Holds the law for a query string.
pub fn law(data: &[u8]) {
    let Ok(query) = std::str::from_utf8(data) else { return };
    let now = DateTime::from_timestamp(NOON_S, 0).expect("a time");
    let asked = || RequestParameters::of(query, now);
    let own = RowAccess::Campaigns(["campaign-3".to_owned()].into());
    for access in [&RowAccess::All, &own] {
        check(&asked().and_then(|asked| asked.total(access)).map(|(question, _)| question), access);
        check(&asked().and_then(|asked| asked.series(access)), access);
        check(&asked().and_then(|asked| asked.plot(access)).map(|(question, ..)| question), access);
        check(&asked().and_then(|asked| asked.top(access)).map(|(question, _)| question), access);
    }
}

fn check(asked: &Result<Question, Problem>, access: &RowAccess) {
    match asked {
        Err(problem) => assert!(!problem.detail().is_empty() && !problem.detail().contains('\n'), "{problem:?}"),
        Ok(question) => {
            let is_whole = |time: Option<EventTime>| time.is_none_or(|time| time.millis().rem_euclid(WINDOW_MS) == 0);
            assert!(is_whole(question.from) && is_whole(question.to), "{question:?}");
            assert!(question.from.zip(question.to).is_none_or(|(from, to)| from <= to), "{question:?}");
            assert_eq!(&question.access, access);
            let campaigns = question.filter.iter().filter(|filter| filter.dimension == Field::CampaignId);
            let mut campaigns = campaigns.flat_map(|filter| &filter.values);
            assert!(campaigns.all(|campaign| access.has_row_of(campaign.as_deref())), "{question:?}");
            assert_eq!(repeated(&question.group_by), None, "{question:?}");
            if let Some(by @ (Width::Minute | Width::Hour)) = question.granularity {
                let (from, to) = question.from.zip(question.to).expect("it has both ends");
                assert!((to.millis() - from.millis()) / by.end_ms(0) <= WINDOWS_MAX, "{question:?}");
            }
        }
    }
}
