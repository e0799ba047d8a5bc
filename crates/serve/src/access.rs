//! Access control: the token, and protection against requests from other sites.

use axum::http::{HeaderMap, StatusCode, header};

use crate::failure::{Answered, Failure};
use crate::settings::Settings;

/// Paths that need no token: the page, which contains no data, the description
/// of the API and the health checks.
const OPEN: [&str; 4] = ["/", "/openapi.json", "/v2/health/live", "/v2/health/ready"];

/// Checks the token, and that no page of another site sent the request.
pub(crate) fn check(settings: &Settings, path: &str, headers: &HeaderMap) -> Answered<()> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    // A page of another site in a browser on this machine must not reach a
    // server that only this machine may use, neither directly nor through a
    // domain name that resolves to this machine (DNS rebinding).
    if let Some(origin) = text(header::ORIGIN)
        && origin.split_once("://").map(|(_, origin)| origin) != Some(host)
    {
        let message = format!("requests from pages of {origin} are not allowed");
        return Err(Failure::new(StatusCode::FORBIDDEN, message));
    }
    if settings.token.is_none() && settings.address.ip().is_loopback() && !is_local(host) {
        let message = format!("expected a loopback name in the header `Host`, got {host:?}");
        return Err(Failure::new(StatusCode::FORBIDDEN, message));
    }
    let Some(token) = settings.token.as_deref().filter(|_| !OPEN.contains(&path)) else {
        return Ok(());
    };
    let given = text(header::AUTHORIZATION).and_then(|value| value.split_once(' '));
    match given {
        Some((scheme, given))
            if scheme.eq_ignore_ascii_case("bearer") && same(given.trim(), token) =>
        {
            Ok(())
        }
        _ => {
            let message = "expected the header `Authorization: Bearer TOKEN`";
            Err(Failure::new(StatusCode::UNAUTHORIZED, message))
        }
    }
}

fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.is_empty()
        || name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Compares in constant time, so that the time does not reveal the first
/// difference.
fn same(given: &str, expected: &str) -> bool {
    given.len() == expected.len()
        && given.bytes().zip(expected.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(settings: &Settings, path: &str, headers: &[(header::HeaderName, &str)]) -> u16 {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        match check(settings, path, &headers.collect()) {
            Ok(()) => 200,
            Err(failure) => failure.status.as_u16(),
        }
    }

    #[test]
    fn only_local_programs_reach_a_local_server() {
        let settings = Settings::default();
        for host in ["localhost", "localhost:8000", "127.0.0.1:80", "[::1]:8000", "[::1]", ""] {
            assert_eq!(asked(&settings, "/metrics", &[(header::HOST, host)]), 200, "{host}");
        }
        for host in ["evil.example", "evil.example:8000", "10.0.0.1", "localhost.evil.example"] {
            assert_eq!(asked(&settings, "/", &[(header::HOST, host)]), 403, "{host}");
        }
        for (origin, status) in [
            ("http://localhost:8000", 200),
            ("http://evil.example", 403),
            ("http://localhost:9000", 403),
            ("null", 403),
        ] {
            let headers = [(header::HOST, "localhost:8000"), (header::ORIGIN, origin)];
            assert_eq!(asked(&settings, "/predict", &headers), status, "{origin}");
        }
    }

    #[test]
    fn a_token_is_asked_for() {
        let settings = Settings { token: Some("secret".to_owned()), ..Settings::default() };
        for (value, status) in [
            ("Bearer secret", 200),
            ("bearer  secret", 200),
            ("Bearer secrets", 401),
            ("Bearer ", 401),
            ("Basic secret", 401),
            ("secret", 401),
        ] {
            let headers = [(header::HOST, "any.name"), (header::AUTHORIZATION, value)];
            assert_eq!(asked(&settings, "/metrics", &headers), status, "{value}");
        }
        assert_eq!(asked(&settings, "/metrics", &[]), 401);
        assert!(OPEN.iter().all(|path| asked(&settings, path, &[]) == 200));
    }
}
