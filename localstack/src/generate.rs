//! Generates clicks from a seed, with all that goes wrong with clicks: disorder, duplicates, lateness, other events,
//! nonsense.
//!
//! The messages are a function of the settings and of the times they are asked for: same seed and times, same messages.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use lake_schemas::field::Member;
use lake_schemas::table::column;
use lake_schemas::{Field, counted};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// Number of latest clicks that a duplicate may be a copy of.
const RECENT_CLICKS: usize = 1_000;

/// Percentage of events that are views and no clicks: aggregation filters them.
const VIEWS_PERCENT: u32 = 2;

/// Age of a late event: from beyond the default lateness of 15 minutes to an hour.
const LATE_MS: std::ops::Range<i64> = 16 * 60_000..60 * 60_000;

/// Number of ads of a campaign.
const ADS_A_CAMPAIGN: u32 = 10;

const COUNTRIES: [&str; 8] = ["BR", "DE", "FR", "GB", "IN", "JP", "NG", "US"];
const DEVICES: [&str; 3] = ["desktop", "phone", "tablet"];

/// Payloads that cannot be events, each for another reason.
const NONSENSE: [&[u8]; 7] = [
    b"",
    b"{\"ad_id\":",
    b"\xff\xfe\x00",
    b"[\"not\",\"an\",\"object\"]",
    b"{\"timestamp\":\"2026-03-07T12:00:45Z\"}",
    b"{\"ad_id\":\"ad-1\",\"timestamp\":\"noon\"}",
    b"{\"ad_id\":\"ad-1\",\"event_time\":12}",
];

/// Settings of a generator.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Seed of the random numbers.
    pub seed: u64,
    /// Number of ads; few of them get most of the clicks.
    pub ads: u32,
    /// Greatest time by which an event lies before the time of its message.
    pub disorder: Duration,
    /// Share of messages that repeat an earlier click.
    pub duplicates: f64,
    /// Share of messages that come long after their event.
    pub late: f64,
    /// Share of messages that cannot be events.
    pub malformed: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { seed: 1, ads: 1_000, disorder: Duration::from_secs(2), duplicates: 0.02, late: 0.005, malformed: 0.001 }
    }
}

/// Kind of a generated message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A click, sent for the first time.
    Click,
    /// A copy of an earlier click.
    Duplicate,
    /// A click that comes long after it happened.
    Late,
    /// An event that is no click.
    View,
    /// A message that is no event.
    Malformed,
}

/// Number of messages of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named after the kinds")]
pub struct Counts {
    pub clicks: u64,
    pub duplicates: u64,
    pub late: u64,
    pub views: u64,
    pub malformed: u64,
}

impl Counts {
    /// Counts one more.
    pub fn add(&mut self, kind: Kind) {
        *match kind {
            Kind::Click => &mut self.clicks,
            Kind::Duplicate => &mut self.duplicates,
            Kind::Late => &mut self.late,
            Kind::View => &mut self.views,
            Kind::Malformed => &mut self.malformed,
        } += 1;
    }

    /// Sums up all kinds.
    pub fn total(&self) -> u64 {
        self.clicks + self.duplicates + self.late + self.views + self.malformed
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clicks, duplicates, late, views, malformed } = self;
        write!(
            f,
            "{}: {}, {}, {late} late, {}, {malformed} malformed",
            counted(self.total(), "message"),
            counted(*clicks, "click"),
            counted(*duplicates, "duplicate"),
            counted(*views, "view")
        )
    }
}

/// A generated message, ready to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// Kind of the message.
    pub kind: Kind,
    /// Id of the ad as the key, so that copies of a click meet in one partition.
    pub key: String,
    /// Payload of the message.
    pub payload: Vec<u8>,
}

/// Endless generator of messages.
pub struct Generator {
    settings: Settings,
    rng: ChaCha8Rng,
    recent: VecDeque<Generated>,
}

impl Generator {
    /// Makes a generator at its seed.
    pub fn new(settings: Settings) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(settings.seed);
        Self { settings, rng, recent: VecDeque::with_capacity(RECENT_CLICKS) }
    }

    /// Generates the next message, as sent `now_ms` milliseconds after 1970.
    pub fn next_at(&mut self, now_ms: i64) -> Generated {
        let (malformed, duplicates, late) = (self.settings.malformed, self.settings.duplicates, self.settings.late);
        let kind = match self.rng.random::<f64>() {
            share if share < malformed => Kind::Malformed,
            share if share < malformed + duplicates && !self.recent.is_empty() => Kind::Duplicate,
            share if share < malformed + duplicates + late => Kind::Late,
            _ if self.rng.random_ratio(VIEWS_PERCENT, 100) => Kind::View,
            _ => Kind::Click,
        };
        match kind {
            Kind::Malformed => {
                let payload = NONSENSE.choose(&mut self.rng).expect("there is nonsense").to_vec();
                Generated { kind, key: "ad-1".to_owned(), payload }
            }
            Kind::Duplicate => {
                let at = self.rng.random_range(0..self.recent.len());
                Generated { kind, ..self.recent[at].clone() }
            }
            Kind::Click | Kind::Late | Kind::View => self.event(kind, now_ms),
        }
    }

    fn event(&mut self, kind: Kind, now_ms: i64) -> Generated {
        // Squaring an even share makes low numbers frequent: a tenth of the ads gets a third of the clicks.
        let ad = (self.rng.random::<f64>().powi(2) * f64::from(self.settings.ads)) as u32;
        let disorder_ms = i64::try_from(self.settings.disorder.as_millis()).unwrap_or(i64::MAX);
        let behind_ms = match kind {
            Kind::Late => self.rng.random_range(LATE_MS),
            _ => self.rng.random_range(0..=disorder_ms),
        };
        let key = format!("ad-{ad}");
        let event_type = if kind == Kind::View { "view" } else { "click" };
        let id = format!("{:032x}", self.rng.random::<u128>());
        let user = format!("user-{}", self.rng.random_range(0..1_000_000));
        let mut event = json!({
            (column::AD_ID): key,
            (column::USER_ID): user,
            (column::CAMPAIGN_ID): format!("campaign-{}", ad / ADS_A_CAMPAIGN),
            (column::COUNTRY): COUNTRIES.choose(&mut self.rng),
            (column::DEVICE): DEVICES.choose(&mut self.rng),
            (column::COST_MICROS): self.rng.random_range(10_000..500_000),
        });
        self.name(&mut event, id, event_type, now_ms.saturating_sub(behind_ms));
        let generated = Generated { kind, key, payload: event.to_string().into_bytes() };
        if kind == Kind::Click {
            if self.recent.len() == RECENT_CLICKS {
                self.recent.pop_front();
            }
            self.recent.push_back(generated.clone());
        }
        generated
    }

    /// Adds the members that the two common shapes of a click name differently: one shape uses the names that take
    /// precedence, the other those that come last.
    fn name(&mut self, event: &mut Value, id: String, event_type: &str, time_ms: i64) {
        let name = |member: Option<Member>| member.expect("messages say these fields").name();
        if self.rng.random() {
            event[name(Field::ClickId.members().last())] = json!(id);
            event[column::EVENT_TYPE] = json!(event_type);
            event[name(Field::EventTime.members().last())] = json!(time_ms);
        } else {
            event[name(Field::ClickId.members().next())] = json!(id);
            if event_type != "click" {
                event[column::EVENT_TYPE] = json!(event_type);
            }
            event[name(Field::EventTime.members().next())] = json!(time_ms.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_messages() {
        let run = || {
            let mut generator = Generator::new(Settings { seed: 42, ..Settings::default() });
            (0..500).map(|i| generator.next_at(1_772_884_800_000 + i)).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn every_kind_comes_in_about_its_share() {
        let settings = Settings { duplicates: 0.1, late: 0.05, malformed: 0.01, ..Settings::default() };
        let mut generator = Generator::new(settings);
        let mut counts = Counts::default();
        (0..20_000).for_each(|i| counts.add(generator.next_at(1_772_884_800_000 + i).kind));
        assert_eq!(counts.total(), 20_000);
        assert!((1_800..2_200).contains(&counts.duplicates), "{counts}");
        assert!((900..1_100).contains(&counts.late), "{counts}");
        assert!((150..250).contains(&counts.malformed), "{counts}");
        assert!((250..450).contains(&counts.views), "{counts}");
    }
}
