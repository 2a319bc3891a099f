//! Statements that people and programs write are let through; statements that would keep a parser or a planner busy are
//! not.

use datafusion::sql::sqlparser::parser::Parser;
use query::sql::nesting::NESTING_MAX;

use super::*;

/// Number of steps that the parser may take in these tests: twice as many as the limit, to see that the limit holds.
const STEPS_TRIED_MAX: u32 = 2 * STEPS_MAX;

fn refusal_of_text(text: &str) -> Option<Refused> {
    of_length(text).and_then(|()| of_text(text, &mut Allowance::default())).err()
}

fn is_let_through(text: &str) -> bool {
    let parsed = || Parser::parse_sql(&PostgreSqlDialect {}, text).expect("SQL").pop().expect("a statement");
    refusal_of_text(text).is_none() && of_statement(&parsed()).is_ok()
}

#[test]
fn what_people_and_programs_write_is_let_through() {
    let nested = |depth: usize| format!("select {}1{}", "abs(".repeat(depth), ")".repeat(depth));
    let listed = format!("select 1 where 'a' in ({})", vec!["'b'"; 10_000].join(", "));
    let cases = (0..300).map(|number| format!(" when a = {number} then '{number}'")).collect::<String>();
    let named = (0..1_000).map(|number| format!("a{number} as \"A {number}\"")).collect::<Vec<_>>().join(", ");
    let between = (0..100).map(|day| format!("a between {day} and {day} + 1")).collect::<Vec<_>>().join(" or ");
    for text in [
        nested(12),
        listed,
        format!("select case{cases} else '' end from b"),
        format!("select {named} from b order by 1 desc"),
        format!("select 1 from b where {between}"),
        "select max(interval), a::interval, cast(b as interval), interval '1 day' from c".to_owned(),
        "select coalesce(coalesce(a, b), coalesce(c, nvl(d, 0))) from e".to_owned(),
        "with recursive a as (select 1 union all select * from a) select * from a".to_owned(),
        "with a as (select 1), b as (select * from a, a c) select * from b join b d on true".to_owned(),
        "with a as (select * from a) select * from a, \"A\"".to_owned(),
        "select 1 from a group by cube (b, c, d), rollup (e, f)".to_owned(),
    ] {
        assert!(is_let_through(&text), "{text}");
    }
    assert!(refusal_of_text("abort").is_none());
}

#[test]
fn what_nests_without_end_is_refused() {
    let deep = |operator: &str| format!("select 1{}", format!(" {operator} 1").repeat(NESTING_MAX + 1));
    let minus = format!("select {}1", "- ".repeat(5_000));
    let brackets = format!("select {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    let types = format!("select 1::int{}", "[]".repeat(5_000));
    let plans = format!("select 1{}", " union select 1".repeat(PLANS_MAX));
    for text in [deep("+"), deep("and"), deep("union select"), deep("::"), minus, brackets, types, plans] {
        assert_eq!(refusal_of_text(&text), Some(too_complex()), "{}", &text[..40]);
    }
    assert!(!is_let_through(&("select * from clicks".to_owned() + &", clicks".repeat(PLANS_MAX))));
}

#[test]
fn what_another_dialect_hides_or_no_list_names_is_refused() {
    let hidden = |inside: &str| format!("select q'[', {inside}, ']'");
    for text in [
        format!("select {}'1'", "interval ".repeat(28_000)),
        format!("select {}'1'", "interval ".repeat(4_000)),
        format!("select 1{}", "#1".repeat(100_000)),
        format!("select 1{}", " notnull".repeat(30_000)),
        format!("select ''{}", "XOR''".repeat(50_000)),
        format!("select ''{}", "OVERLAPS''".repeat(10_000)),
        hidden(&"abs(".repeat(40)),
        hidden(&vec!["1 union select 1"; 3_000].join(", ")),
        format!("select q'[', {}']'", "abs(".repeat(40)),
    ] {
        assert_eq!(refusal_of_text(&text), Some(too_complex()), "{}", &text[..40]);
    }
}

#[test]
fn what_the_parser_reads_again_and_again_is_refused() {
    for word in ["interval(", "interval -abs(", "not -abs(", "abs(", "row(", "abs(abs(", "not - "] {
        for times in [16, 24, 40] {
            let text = format!("select {}", word.repeat(times));
            let refused = refusal_of_text(&text).expect("it is no statement");
            assert!(times < 40 || refused == too_complex(), "{text}: {refused:?}");
        }
    }
    // All statements of a text share one budget.
    let text = format!("select {}1{}", "abs(".repeat(12), ")".repeat(12));
    let mut allowed = Allowance::default();
    let refused = (0..32).map(|_| of_text(&text, &mut allowed)).find_map(Result::err);
    assert_eq!(refused, Some(too_complex()));
}

/// Generator of pseudo-random numbers without a library, the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }
}

#[test]
fn what_is_let_through_is_parsed_within_bounded_steps() {
    const WORDS: [&str; 40] = [
        "select", "interval", "not", "-", "+", "(", ")", "(", "abs(", "row(", "case", "when", "then", "end", "between",
        "and", "or", "in", "is", "null", "from", "a", "join", "on", "1", "'b'", ",", "::", "int", "[", "]", "array",
        "exists", "cast(", "as", "lateral", "values", "xor", "#", "q'['",
    ];
    let mut numbers = Numbers(21);
    for round in 0..60 {
        let length = 1 + numbers.below(120);
        let unit: Vec<_> = (0..1 + numbers.below(4)).map(|_| WORDS[numbers.below(WORDS.len())]).collect();
        let mut words = vec!["select"];
        while words.len() < length {
            match numbers.below(3) {
                0 => words.push(WORDS[numbers.below(WORDS.len())]),
                _ => words.extend(&unit),
            }
        }
        let text = words.join(" ");
        let Ok(tokens) = Tokenizer::new(&PostgreSqlDialect {}, &text).tokenize() else { continue };
        if refusal_of_text(&text) == Some(too_complex()) {
            continue;
        }
        let mut steps = STEPS_TRIED_MAX;
        let parsed = steps::parse(tokens, &mut steps);
        let taken = STEPS_TRIED_MAX - steps;
        assert!(taken <= STEPS_MAX, "round {round}, {taken} steps: {text}: {parsed:?}");
    }
}

#[test]
fn statements_that_grow_exponentially_are_refused() {
    let nested = |word: &str| format!("select {}1{}", word.repeat(20), ")".repeat(20));
    let chain = |rows: &str| {
        let more = (0..12).map(|at| format!(", a{} as (select * from {})", at + 1, rows.replace('#', &at.to_string())));
        format!("with a0 as (select 1){} select * from a12", more.collect::<String>())
    };
    assert!(is_let_through(&chain("a#")));
    let joined = ["a# x, \"a#\" y", "a# x, (select * from A#) y"].map(chain);
    let cubes = "select 1 from a group by cube (b, c, d, e), cube (f, g, h, i)".to_owned();
    let between = |times: usize| format!("select 1 from a where (b > 0) {}", "between false and true ".repeat(times));
    let coalesced = format!("select {}b{} from a", "coalesce(".repeat(13), ", 1)".repeat(13));
    let cased = |times: usize| {
        format!("select {}a > 0{} from b", "case when ".repeat(times), " then c = 1 else d = 2 end".repeat(times))
    };
    let all = joined.into_iter().chain([nested("abs("), nested("row("), cubes, between(14), between(30), coalesced]);
    let matched = |times: usize| format!("select {}a{} from b", "(".repeat(times), " ~ 'c|d|e|f')::text".repeat(times));
    let floored =
        |times: usize| format!("select {}a{} from b", "(floor(".repeat(times), "::float8) = 1)::int".repeat(times));
    let compared = format!("select {}a{} from b", "(1 = all(array[".repeat(4), "]))::int".repeat(4));
    let matched_by_name = format!("select {}a{} from b", "regexp_like(".repeat(8), "::text, 'c|d|e|f')".repeat(8));
    let all = all.chain([cased(14), cased(20), matched(8), matched(12), floored(9), compared, matched_by_name]);
    for text in all {
        assert!(!is_let_through(&text), "{text}");
    }
    assert!(is_let_through(&between(8)) && is_let_through(&cased(8)) && is_let_through(&matched(4)));
    assert!(is_let_through(&floored(3)));
    let any = format!("select 1 from b where a = any(array[{}])", vec!["'c'"; 5_000].join(", "));
    assert!(is_let_through(&any));
    // An operand that is no condition is written once, and so is all of a CASE whose values are not true or false.
    let otherwise = format!("select {}0{} from b", "case when a > 0 then c = 1 else ".repeat(20), " end".repeat(20));
    let counted = format!("select {}a > 0{} from b", "case when ".repeat(14), " then 1 else 2 end > 1".repeat(14));
    assert!(is_let_through(&otherwise) && is_let_through(&counted));
}

#[test]
fn expressions_that_columns_stand_for_are_counted_when_they_are_substituted() {
    let chain = |links: usize, made: &str| {
        let more = (0..links).map(|at| format!(", a{} as (select {made} as a from a{at})", at + 1));
        format!("with a0 as (select a from b){} select count(*) from a{links} where a > 0", more.collect::<String>())
    };
    for made in ["a + a", "case when a > 0 then a else -a end", "(a between 0 and 1)::int"] {
        assert!(!is_let_through(&chain(20, made)), "{made}");
        assert!(is_let_through(&chain(4, made)), "{made}");
    }
    assert!(is_let_through(&chain(60, "a")) && is_let_through(&chain(40, "a + 1")));
}
