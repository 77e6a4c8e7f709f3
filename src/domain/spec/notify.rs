//! The `notify` field: the receivers that are notified when a job has ended.
//!
//! A caller's URL gives access to the server's network, so each URL is parsed once and stored in
//! its parsed form. The policy therefore compares exactly the address that is called later. URLs
//! with a user or a password are refused, because everyone who sees the job would see them.

use std::fmt;
use std::str::FromStr;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use crate::domain::names::status::{Map, Status};
use crate::domain::text::units::shown;

/// The most receivers of one job.
const MOST: usize = 8;
/// The longest URL, in bytes.
const LONGEST_URL: usize = 2_048;

/// The receivers of a job's end: one object or a list in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify(pub Vec<Notice>);

/// A receiver, with the ends that it is notified of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// The target of the `POST`.
    pub url: NotifyUrl,
    /// The final statuses to notify. `None` means all but `succeeded` and `canceled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on: Option<Vec<EndStatus>>,
}

/// The status of a job that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct EndStatus(Status);

/// The URL of a receiver: `http` or `https`, with a host, without user and fragment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NotifyUrl(Url);

/// A prefix of URLs that a policy allows: a host and port, and the first whole segments of the
/// path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NotifyPrefix(NotifyUrl);

/// The error for an invalid `notify`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadNotify {
    /// The text is no valid URL of a receiver.
    #[error("`{0}` cannot be notified: write an address such as `https://hooks.example/tidetable`")]
    NotAnUrl(String),
    /// The URL has a user or a password. The error does not show it.
    #[error(
        "an address to notify must not hold a user or a password: whoever sees the job would see them"
    )]
    HasCredentials,
    /// The prefix has a query.
    #[error("`{0}` has a query: a prefix of addresses is a host, and the beginning of a path")]
    HasQuery(String),
    /// The word is not the status of a job that has ended.
    #[error(
        "`{0}` is no end of a job: there are `succeeded`, `failed`, `timed_out`, `stopped`, `canceled`, `missed` and `unknown`"
    )]
    NotAnEnd(String),
}

impl Notice {
    /// Checks whether the receiver wants a notification of this end.
    pub fn wants(&self, end: Status) -> bool {
        match &self.on {
            Some(list) => list.iter().any(|word| word.0 == end),
            None => {
                end.map() == Map::History && !matches!(end, Status::Succeeded | Status::Canceled)
            }
        }
    }
}

impl NotifyUrl {
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Returns `https://host:port` without the path, because the path may be a secret.
    pub fn receiver(&self) -> String {
        self.0.origin().ascii_serialization()
    }
}

impl NotifyPrefix {
    /// Checks whether the prefix allows this URL.
    pub fn covers(&self, url: &NotifyUrl) -> bool {
        let (prefix, path) = (self.0.0.path().trim_end_matches('/'), url.0.path());
        let is_below =
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.0.0.origin() == url.0.origin() && is_below
    }
}

impl FromStr for NotifyUrl {
    type Err = BadNotify;
    fn from_str(text: &str) -> Result<Self, BadNotify> {
        let is_right = |url: &Url| {
            matches!(url.scheme(), "http" | "https")
                && url.host_str().is_some_and(|host| !host.is_empty())
                && url.username().is_empty()
                && url.password().is_none()
                && url.fragment().is_none()
                && url.as_str().len() <= LONGEST_URL
        };
        match Url::parse(text) {
            Ok(url) if is_right(&url) => Ok(Self(url)),
            // A text that is no URL may hold a password, too.
            Ok(_) | Err(_) if text.contains('@') => Err(BadNotify::HasCredentials),
            Ok(_) | Err(_) => Err(BadNotify::NotAnUrl(shown(text))),
        }
    }
}

impl TryFrom<String> for NotifyUrl {
    type Error = BadNotify;
    fn try_from(text: String) -> Result<Self, BadNotify> {
        text.parse()
    }
}

impl From<NotifyUrl> for String {
    fn from(url: NotifyUrl) -> Self {
        url.0.into()
    }
}

impl TryFrom<String> for NotifyPrefix {
    type Error = BadNotify;
    fn try_from(text: String) -> Result<Self, BadNotify> {
        let url: NotifyUrl = text.parse()?;
        if url.0.query().is_some() { Err(BadNotify::HasQuery(shown(&text))) } else { Ok(Self(url)) }
    }
}

impl From<NotifyPrefix> for String {
    fn from(prefix: NotifyPrefix) -> Self {
        prefix.0.into()
    }
}

impl TryFrom<String> for EndStatus {
    type Error = BadNotify;
    fn try_from(word: String) -> Result<Self, BadNotify> {
        let end = Status::from_word(&word).filter(|status| status.map() == Map::History);
        end.map(Self).ok_or_else(|| BadNotify::NotAnEnd(shown(&word)))
    }
}

impl From<EndStatus> for String {
    fn from(word: EndStatus) -> Self {
        word.0.to_string()
    }
}

impl Serialize for Notify {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0[..] {
            [one] => one.serialize(serializer),
            list => list.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Notify {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Notify;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object such as {\"url\": \"https://hooks.example/tidetable\"}, or a list of them")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Notify, A::Error> {
                Notice::deserialize(MapAccessDeserializer::new(map)).map(|one| Notify(vec![one]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Notify, A::Error> {
                let all = Vec::deserialize(SeqAccessDeserializer::new(list))?;
                if all.len() > MOST {
                    return Err(serde::de::Error::custom(format!("a job notifies at most {MOST}")));
                }
                Ok(Notify(all))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Result<NotifyUrl, BadNotify> {
        text.parse()
    }

    fn covers(prefix: &str, text: &str) -> bool {
        NotifyPrefix::try_from(prefix.to_owned())
            .expect("a prefix")
            .covers(&url(text).expect("an address"))
    }

    #[test]
    fn one_receiver_or_list_survives_a_round_trip() {
        for json in [
            r#"{"url":"https://a.example/x"}"#,
            r#"{"url":"http://a.example:81/","on":["succeeded","failed"]}"#,
            r#"[{"url":"https://a.example/"},{"url":"https://b.example/","on":["unknown"]}]"#,
        ] {
            let read: Notify = serde_json::from_str(json).expect("is right");
            assert_eq!(serde_json::to_string(&read).expect("is JSON"), json);
        }
    }

    #[test]
    fn default_ends_exclude_success_and_cancellation() {
        let told = |json: &str| -> Vec<&str> {
            let notice: Notice = serde_json::from_str(json).expect("is right");
            Status::ALL.iter().filter(|end| notice.wants(**end)).map(|end| end.as_str()).collect()
        };
        assert_eq!(
            told(r#"{"url":"http://a"}"#),
            ["failed", "timed_out", "stopped", "missed", "unknown"]
        );
        assert_eq!(told(r#"{"url":"http://a","on":["succeeded"]}"#), ["succeeded"]);
        assert_eq!(told(r#"{"url":"http://a","on":[]}"#), [""; 0]);
    }

    #[test]
    fn invalid_urls_are_refused_and_passwords_stay_hidden() {
        for text in [
            "",
            "a",
            "ftp://a/",
            "http://",
            "https://a/#x",
            "file:///etc/passwd",
            "unix:///run/docker.sock",
        ] {
            assert_eq!(url(text), Err(BadNotify::NotAnUrl(text.to_owned())), "{text}");
        }
        for text in [
            "http://me:hunter2@a/",
            "http://me@a/",
            "http://:hunter2@a/",
            "http://me:hunter2@",
            "x:hunter2@",
        ] {
            assert!(!url(text).expect_err("is refused").to_string().contains("hunter2"), "{text}");
        }
        assert!(url("https://a.example/hook?to=me@b.example").is_ok());
        let running = serde_json::from_str::<Notice>(r#"{"url":"http://a","on":["running"]}"#);
        assert!(running.expect_err("is no end").to_string().contains("`running` is no end"));
    }

    #[test]
    fn prefix_matches_host_port_and_whole_path_segments() {
        assert!(covers("https://a.example", "https://a.example/any?x=1"));
        assert!(covers("https://A.example:443/hook/", "https://a.example/hook"));
        assert!(covers("https://a.example/hook", "https://a.example/hook/b"));
        for text in [
            "http://a.example/hook",
            "https://a.example.evil.example/hook",
            "https://a.example:444/hook",
            "https://a.example/hooked",
            "https://a.example/hook/../admin",
            "https://a.example/hook/%2e%2e/admin",
            "https://a.example\\@evil.example/hook",
        ] {
            assert!(!url(text).is_ok_and(|_| covers("https://a.example/hook", text)), "{text}");
        }
    }
}
