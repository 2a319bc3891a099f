//! Tests of the parameters of a request: which question they ask.

use super::*;

fn asked(query: &str) -> RequestParameters<'_> {
    let now = "2026-03-07T12:34:56Z".parse().expect("a time");
    RequestParameters::of(query, now).unwrap_or_else(|problem| panic!("{query}: {problem:?}"))
}

fn said(problem: Problem) -> String {
    serde_json::to_value(problem).expect("JSON")["detail"].as_str().expect("a sentence").to_owned()
}

#[test]
fn a_question_is_what_its_parameters_say() {
    let (question, of_each) = asked("last=1h&ad=a%26b+c").total(&RowAccess::All).expect("a question");
    assert_eq!((question.filter, of_each), (vec![Filter::one(Field::AdId, "a&b c")], Some(Field::AdId)));
    let millis = |time: Option<EventTime>| time.map(EventTime::millis);
    assert_eq!(millis(question.to).zip(millis(question.from)).map(|(to, from)| to - from), Some(3_600_000));
    let question = asked("campaign=c&from=2026-03-01&as_of=7").series(&RowAccess::All).expect("a question");
    assert_eq!((question.as_of, question.granularity, question.to), (AsOf::Version(7), Some(Width::Day), None));
    let (question, page) = asked("by=campaign&n=3").top(&RowAccess::All).expect("a question");
    assert_eq!((question.group_by, page), (vec![Field::CampaignId], Page { skip: 0, most: 3 }));
    let (question, page) = asked("campaign=c&offset=20").top(&RowAccess::All).expect("a question");
    let page_expected = Page { skip: 20, most: TOP_USUAL };
    assert_eq!((question.filter, page), (vec![Filter::one(Field::CampaignId, "c")], page_expected));
    assert_eq!(question.group_by, [Field::AdId]);
    let of = |query| {
        let (question, of_each) = asked(query).total(&RowAccess::All).expect(query);
        (question.filter, question.group_by, of_each)
    };
    assert_eq!(of(""), (vec![], vec![], None));
    let some = |dimension, names: &[&str]| vec![Filter::any(dimension, names.iter().copied())];
    let ads = some(Field::AdId, &["b", "a"]);
    assert_eq!(of("ad=b&ad=a"), (ads, vec![Field::AdId], Some(Field::AdId)));
    let campaigns = some(Field::CampaignId, &["x", "y"]);
    assert_eq!(of("campaign=x&campaign=y"), (campaigns, vec![Field::CampaignId], Some(Field::CampaignId)));
    let ad = some(Field::AdId, &["a"]);
    assert_eq!(of("ad=a&_=1699&utm_source=mail&_t=x"), (ad, vec![], Some(Field::AdId)));
}

#[test]
fn dimensions_are_filtered_and_grouped_by_whatever_they_are() {
    let of = |query| asked(query).total(&RowAccess::All).expect(query);
    let (question, of_each) = of("country=DE,AT&campaign_id=&group_by=device,ad&publisher_id=%22a,b%22&country=CH");
    let nowhere = Filter { dimension: Field::CampaignId, values: vec![None] };
    let countries = Filter::any(Field::Country, ["DE", "AT", "CH"]);
    assert_eq!(question.filter, [nowhere, Filter::one(Field::PublisherId, "a,b"), countries]);
    assert_eq!((question.group_by, of_each), (vec![Field::Device, Field::AdId], None));
    let (question, of_each) = of("ad=b&ad=a&group_by=country");
    assert_eq!((question.group_by, of_each), (vec![Field::Country], None), "names have no rows then");
    let (question, of_each) = of("ad=a&campaign_id=c");
    assert_eq!(question.filter, [Filter::one(Field::AdId, "a"), Filter::one(Field::CampaignId, "c")]);
    assert_eq!((question.group_by, of_each), (vec![], Some(Field::AdId)));
    let series =
        asked("country=DE,AT&granularity=hour&group_by=device&last=1d").series(&RowAccess::All).expect("a series");
    assert_eq!((series.granularity, series.group_by), (Some(Width::Hour), vec![Field::Device]));
    for query in ["by=country&campaign=c", "group_by=country&campaign_id=c"] {
        let (top, _) = asked(query).top(&RowAccess::All).expect(query);
        assert_eq!(top.filter, [Filter::one(Field::CampaignId, "c")], "{query}");
        assert_eq!((rows_max(&top), top.group_by), (Some(ROWS_MAX), vec![Field::Country]), "{query}");
    }
    let (plotted, _, _) = asked("device=tv&last=1d").plot(&RowAccess::All).expect("a plot");
    assert_eq!((rows_max(&plotted), plotted.filter), (None, vec![Filter::one(Field::Device, "tv")]));
}

#[test]
fn what_is_no_dimension_and_no_value_is_said() {
    for (query, expected) in [
        (
            "group_by=ip",
            "group_by: \"ip\" is no dimension; there are ad_id, campaign_id, publisher_id, country, device",
        ),
        ("group_by=", "\"\" is no dimension"),
        ("group_by=country,country", "group_by names country twice"),
        ("group_by=ad,ad_id", "group_by names ad_id twice"),
        ("group_by=country&group_by=device", "group_by is given twice"),
        ("country=%22DE", "country: a quote has no end"),
        ("country=%22DE%22AT", "country: behind a quote"),
        ("ad=a&ad_id=b", "ad and ad_id are the same"),
        ("campaign=a&campaign_id=a", "campaign and campaign_id are the same"),
        ("ip=1.2.3.4", "\"ip\" is no parameter"),
        ("by=country", "\"by\" is no parameter"),
    ] {
        let now = DateTime::UNIX_EPOCH;
        let problem =
            RequestParameters::of(query, now).and_then(|asked| asked.total(&RowAccess::All)).expect_err(query);
        assert!(said(problem.clone()).contains(expected), "{query}: {problem:?}");
    }
    let values = |count: usize| format!("country={}", vec!["x"; count].join(","));
    assert!(asked(&values(NAMES_MAX)).total(&RowAccess::All).is_ok());
    let many = asked(&values(NAMES_MAX + 1)).total(&RowAccess::All).expect_err("many");
    assert!(said(many).contains("country has more than 1000 values"));
    let long = format!("country={}", "x".repeat(NAME_BYTES_MAX + 1));
    assert!(said(asked(&long).total(&RowAccess::All).expect_err("long")).contains("longer than 1024 bytes"));
    assert!(said(asked("by=ad&group_by=ad").top(&RowAccess::All).expect_err("both")).contains("give one of them"));
    assert!(said(asked("group_by=ad").plot(&RowAccess::All).expect_err("a plot is one")).contains("no parameter"));
}

#[test]
fn impossible_questions_are_refused_with_the_reason() {
    let cases = [
        ("ad=a&campaign=b", "name one of"),
        ("ad=", "ad is empty"),
        ("ad=a&last=1h&to=2026-03-08", "last stands for from and to"),
        ("ad=a&last=0s", "last is a duration"),
        ("ad=a&from=2026-03-07T12:00:01Z", "from is a whole minute"),
        ("ad=a&to=yesterday", "to is a whole minute"),
        ("ad=a&from=2026-03-08&to=2026-03-07", "exchange the two"),
        ("ad=a&from=2026-03-08&to=2026-03-08", "the end is not included"),
        ("ad=a&from=2026-03-07T12:00:00+01:00", "write %2B"),
        ("ad=a&as_of=2026-03-07T12:00:00+01:00", "write %2B"),
        ("ad=a&as_of=-1", "as_of is a version"),
        ("ad=a&to=2026-03-07T06:00:60Z", "to is a whole minute"),
        ("ad=a&from=2026-03-07T06:00:59.5Z", "from is a whole minute"),
        ("ad=a&as_of=2026-06-30T23:59:60Z", "as_of is a version, or a time"),
        ("&&&=&=", "a parameter has no name"),
        ("ad=a&=b", "a parameter has no name"),
        ("ad=a&Ad=b", "\"Ad\" is no parameter"),
        ("ad=a&n=3", "\"n\" is no parameter"),
        ("ad=a&ad=b&ad=a", "ad a is given twice"),
        ("ad=a&last=1h&last=1h", "last is given twice"),
    ];
    for (query, expected) in cases {
        let now = DateTime::UNIX_EPOCH;
        let problem =
            RequestParameters::of(query, now).and_then(|asked| asked.total(&RowAccess::All)).expect_err(query);
        assert!(said(problem.clone()).contains(expected), "{query}: {problem:?}");
    }
    let many = |count: usize| (0..count).map(|at| format!("ad={at}&")).collect::<String>();
    assert!(asked(&many(NAMES_MAX)).total(&RowAccess::All).is_ok());
    assert!(
        said(asked(&many(NAMES_MAX + 1)).total(&RowAccess::All).expect_err("many")).contains("more than 1000 times")
    );
    let too_many = RequestParameters::of(&many(2 * PARAMETERS_MAX), DateTime::UNIX_EPOCH).err().expect("too many");
    assert!(said(too_many).contains("parameters"));
    let long = format!("ad={}", "x".repeat(NAME_BYTES_MAX + 1));
    assert!(said(asked(&long).total(&RowAccess::All).expect_err("long")).contains("longer than 1024 bytes"));
    let now = DateTime::UNIX_EPOCH;
    assert!(said(RequestParameters::of("ad=%ff", now).err().expect("no text")).contains("not UTF-8"));
    assert!(said(asked("ad=a&ad=b").series(&RowAccess::All).expect_err("two")).contains("takes one ad;"));
    assert!(said(RequestParameters::of("ad=a&to=1&to=2", now).err().expect("twice")).contains("to is given twice"));
    assert!(asked("ad=a&granularity=minute&last=7d").series(&RowAccess::All).is_ok(), "a week of minutes");
    for query in ["ad=a&granularity=minute&last=8d", "ad=a&granularity=hour&last=800d"] {
        assert!(
            said(asked(query).series(&RowAccess::All).expect_err(query)).contains("more than 10080 windows"),
            "{query}"
        );
    }
    for query in ["granularity=minute", "granularity=hour&from=2026-03-07", "granularity=hour&to=2026-03-07"] {
        assert!(
            said(asked(query).series(&RowAccess::All).expect_err(query)).contains("from and to, or last"),
            "{query}"
        );
    }
    assert!(asked("granularity=day&from=2026-03-07").series(&RowAccess::All).is_ok());
    for query in ["ad=a&granularity=month", "ad=a&last=1h&granularity="] {
        assert!(said(asked(query).series(&RowAccess::All).expect_err(query)).contains("granularity is"), "{query}");
    }
    for query in ["n=0", "n=1001", "n=x", "by=user", "by=", "ad=a&ad=b", "offset=-1", "offset=100001"] {
        asked(query).top(&RowAccess::All).expect_err(query);
    }
}

#[test]
fn what_takes_no_parameters_refuses_them() {
    assert!(asked("").nothing().is_ok() && asked("_=1699").nothing().is_ok());
    assert!(said(asked("ad=a").nothing().expect_err("one")).contains("\"ad\" is no parameter here"));
}

#[test]
fn a_key_asks_of_its_own_campaigns() {
    let access = RowAccess::Campaigns(["spring".to_owned()].into());
    assert_eq!(asked("campaign=spring").total(&access).expect("its own").0.access, access);
    for other in ["summer", "Spring", "spring%20", "sprin%25", "*", "%EF%BD%93pring", "spring'%20or%20'a'='a"] {
        let problem = asked(&format!("campaign={other}")).total(&access).expect_err(other);
        assert!(said(problem).contains("does not see campaign"), "{other}");
        let query = format!("campaign=spring&campaign={other}");
        asked(&query).total(&access).expect_err("one of them is not its own");
        asked(&format!("campaign={other}")).top(&access).expect_err("nor is there a top of it");
    }
    assert_eq!(asked("ad=a").total(&access).expect("of what it sees").0.access, access);
    assert_eq!(asked("campaign_id=spring&group_by=campaign_id").total(&access).expect("its own").0.access, access);
    let (hidden, empty) = ("does not see campaign summer", "a campaign is empty");
    for (other, why) in [("summer", hidden), ("spring,summer", hidden), ("", empty), ("spring,", empty)] {
        let query = format!("campaign_id={other}");
        assert!(said(asked(&query).total(&access).expect_err(&query)).contains(why), "{query}");
        asked(&query).top(&access).expect_err(&query);
        asked(&query).series(&access).expect_err(&query);
    }
}
