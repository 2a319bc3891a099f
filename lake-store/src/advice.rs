//! Advice for errors of a store: what to do about the error codes of S3, and about failures of the network in between.

use std::error::Error;

/// Texts in a store's error, each with the advice for it. The first one that is found counts.
const ADVICE: [(&str, &str); 12] = [
    ("SignatureDoesNotMatch", "the secret key is wrong; check AWS_SECRET_ACCESS_KEY, or the profile"),
    ("InvalidAccessKeyId", "nobody has this access key; check AWS_ACCESS_KEY_ID, or the profile"),
    ("ExpiredToken", "the session token has expired; get another"),
    ("NoSuchBucket", "there is no such bucket; make it, or name another with --lake"),
    ("AuthorizationHeaderMalformed", "the bucket is in another region; set AWS_REGION"),
    ("PermanentRedirect", "the bucket is in another region; set AWS_REGION"),
    ("AccessDenied", "these credentials may not write there; docs/operate.md lists the rights that are needed"),
    ("URL scheme is not allowed", "the endpoint is not https; if that is meant, set AWS_ALLOW_HTTP=true"),
    (
        "credential provider was not enabled",
        "no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    ),
    ("Connection refused", "nothing listens there; check AWS_ENDPOINT_URL"),
    ("dns error", "there is no host of that name; check AWS_ENDPOINT_URL and AWS_REGION"),
    ("operation timed out", "it does not answer; check AWS_ENDPOINT_URL and the network"),
];

/// Returns one line of advice for an error, if its cause is known.
pub fn advice(error: &(dyn Error + 'static)) -> Option<String> {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let said: String = causes.map(ToString::to_string).collect();
    ADVICE.iter().find(|(code, _)| said.contains(code)).map(|(code, advice)| format!("{advice} ({code})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_deep_in_the_answer_is_found() {
        let answer = "403 Forbidden: <Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>";
        let error = object_store::Error::PermissionDenied { path: "clicks".to_owned(), source: answer.into() };
        let advice = advice(&error).expect("it is known");
        assert!(advice.contains("docs/operate.md") && advice.contains("AccessDenied"), "{advice}");
    }

    #[test]
    fn an_unknown_error_gets_no_advice() {
        let error = object_store::Error::Generic { store: "S3", source: "507 Insufficient Storage".into() };
        assert_eq!(advice(&error), None);
    }
}
