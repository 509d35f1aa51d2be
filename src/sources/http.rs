//! Requests, and what their failures mean.

use std::io::ErrorKind;

use ureq::http::{Response, Uri};
use ureq::{Agent, Body, Error, Timeout};

use super::error::SourceError;
use super::options::{Options, Token};

const USER_AGENT: &str = concat!("camshaft/", env!("CARGO_PKG_VERSION"));

/// How an attempt failed.
#[derive(Debug)]
pub(super) enum Attempt {
    /// Again would not help.
    Fatal(SourceError),
    /// There is no way to the server: refused, no such host, no trust.
    NoRoute(String),
    /// The connection broke or stalled.
    Broken(String),
    /// The server has trouble of its own, or wants us to slow down.
    Busy(u16),
}

impl From<SourceError> for Attempt {
    fn from(e: SourceError) -> Self {
        Self::Fatal(e)
    }
}

/// Sorts a failure of the client.
pub(super) fn failed(url: &str, error: Error) -> Attempt {
    match error {
        Error::HostNotFound => Attempt::NoRoute("the host was not found".to_owned()),
        Error::Io(e) => match e.kind() {
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
            | ErrorKind::TimedOut
            | ErrorKind::WouldBlock => Attempt::Broken(e.to_string()),
            // Refused, unreachable, a certificate that is not trusted; a name that cannot be looked up has no kind of its own.
            _ => Attempt::NoRoute(e.to_string()),
        },
        Error::Timeout(what @ (Timeout::Resolve | Timeout::Connect)) => Attempt::NoRoute(format!("timed out: {what}")),
        Error::ConnectionFailed => Attempt::NoRoute("no connection could be made".to_owned()),
        Error::ConnectProxyFailed(e) => Attempt::NoRoute(format!("the proxy failed: {e}")),
        Error::Timeout(what) => Attempt::Broken(format!("timed out: {what}")),
        Error::Protocol(e) => Attempt::Broken(e.to_string()),
        e => Attempt::Fatal(SourceError::Protocol { url: url.to_owned(), problem: e.to_string() }),
    }
}

/// An HTTP client for one address.
pub(super) struct Client {
    agent: Agent,
    token: Option<String>,
}

impl Client {
    /// `redirects`: how many are followed; the token stays behind when one is. From an https address only https ones are.
    pub(super) fn new(url: &str, token: Option<&Token>, redirects: u32, options: &Options) -> Result<Self, SourceError> {
        let bad = |problem: &str| SourceError::Protocol { url: url.to_owned(), problem: problem.to_owned() };
        let uri: Uri = url.parse().map_err(|_| bad("not a valid URL"))?;
        let (Some(scheme @ ("http" | "https")), Some(host)) = (uri.scheme_str(), uri.host()) else {
            return Err(bad("not an http or https URL"));
        };
        if let Some(token) = token
            && !token.secret().bytes().all(|b| b.is_ascii_graphic())
        {
            return Err(bad("the token HF_TOKEN holds characters that no token has"));
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(scheme == "https")
            .max_redirects(redirects)
            .user_agent(USER_AGENT)
            // Lengths, ranges and hashes are those of the file itself.
            .accept_encoding("identity")
            .timeout_resolve(Some(options.timeout))
            .timeout_connect(Some(options.timeout))
            .timeout_recv_response(Some(options.timeout))
            .timeout_per_read(Some(options.timeout));
        if matches!(host, "127.0.0.1" | "[::1]" | "localhost") {
            config = config.proxy(None);
        }
        Ok(Self { agent: config.build().new_agent(), token: token.map(|t| format!("Bearer {}", t.secret())) })
    }

    pub(super) fn head(&self, url: &str) -> Result<Response<Body>, Attempt> {
        let mut request = self.agent.head(url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", token);
        }
        request.call().map_err(|e| failed(url, e))
    }

    /// Asks for the file from byte `from` on.
    pub(super) fn get(&self, url: &str, from: u64) -> Result<Response<Body>, Attempt> {
        let mut request = self.agent.get(url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", token);
        }
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        request.call().map_err(|e| failed(url, e))
    }
}

/// A header's text, if it is there and ASCII.
pub(super) fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// Whether a status is worth another attempt.
pub(super) fn is_busy(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// The value of a `Content-Range` header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    /// First byte; `None` in an answer that the range cannot be had.
    pub(super) start: Option<u64>,
    /// Length of the whole file, if known.
    pub(super) total: Option<u64>,
}

impl ContentRange {
    /// `bytes 5-9/10`, `bytes 5-9/*` or `bytes */10`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
        let total = if total == "*" { None } else { Some(total.parse().ok()?) };
        if range == "*" {
            return Some(Self { start: None, total });
        }
        let (start, end) = range.split_once('-')?;
        let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
        (start <= end && total.is_none_or(|total| end < total)).then_some(Self { start: Some(start), total })
    }
}

#[cfg(test)]
mod tests {
    use super::ContentRange;

    #[test]
    fn content_range() {
        let parse = |text| ContentRange::parse(text).map(|r| (r.start, r.total));
        assert_eq!(parse("bytes 5-9/10"), Some((Some(5), Some(10))));
        assert_eq!(parse("bytes 5-9/*"), Some((Some(5), None)));
        assert_eq!(parse("bytes */10"), Some((None, Some(10))));
        for bad in ["", "bytes", "bytes 5-9", "bytes 5-10/10", "bytes 9-5/10", "bytes 5-/10", "items 5-9/10", "bytes 5-9/x"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
