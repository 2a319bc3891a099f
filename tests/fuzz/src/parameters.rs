//! Law: the parameters of a request are a question within bounds, or a problem that says what is wrong.

use chrono::DateTime;
use lake_schemas::{EventTime, Field, Width, Windowing};
use query::Sees;
use query::totals::{Question, repeated};
use serve::{Asked, Problem};

/// Time of the request: 2026-03-07T12:00:00Z.
const NOON_S: i64 = 1_772_884_800;

/// Most windows of a series of minutes or hours.
const WINDOWS_MAX: i64 = 7 * 24 * 60;

/// Holds the law for a query string.
pub fn law(data: &[u8]) {
    let Ok(query) = std::str::from_utf8(data) else { return };
    let now = DateTime::from_timestamp(NOON_S, 0).expect("a time");
    let asked = || Asked::of(query, now);
    let own = Sees::Campaigns(["campaign-3".to_owned()].into());
    for sees in [&Sees::All, &own] {
        check(&asked().and_then(|asked| asked.total(sees)).map(|(question, _)| question), sees);
        check(&asked().and_then(|asked| asked.series(sees)), sees);
        check(&asked().and_then(|asked| asked.plot(sees)).map(|(question, ..)| question), sees);
        check(&asked().and_then(|asked| asked.top(sees)).map(|(question, _)| question), sees);
    }
}

fn check(asked: &Result<Question, Problem>, sees: &Sees) {
    match asked {
        Err(problem) => assert!(!problem.detail().is_empty() && !problem.detail().contains('\n'), "{problem:?}"),
        Ok(question) => {
            let is_whole = |time: Option<EventTime>| {
                time.is_none_or(|time| time.millis().rem_euclid(Windowing::default().width_ms()) == 0)
            };
            assert!(is_whole(question.from) && is_whole(question.to), "{question:?}");
            assert!(question.from.zip(question.to).is_none_or(|(from, to)| from <= to), "{question:?}");
            assert_eq!(&question.sees, sees);
            let campaigns = question.filter.iter().filter(|filter| filter.dimension == Field::CampaignId);
            let mut campaigns = campaigns.flat_map(|filter| &filter.values);
            assert!(campaigns.all(|campaign| sees.has_row_of(campaign.as_deref())), "{question:?}");
            assert_eq!(repeated(&question.group_by), None, "{question:?}");
            if let Some(by @ (Width::Minute | Width::Hour)) = question.granularity {
                let (from, to) = question.from.zip(question.to).expect("it has both ends");
                assert!((to.millis() - from.millis()) / by.end_ms(0) <= WINDOWS_MAX, "{question:?}");
            }
        }
    }
}
