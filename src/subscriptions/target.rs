//! Where webhooks may go: the rules against making the broker call what only it can reach (SSRF).
//!
//! Checked twice. The URL when a subscription is created: `https`, no user name, no address or name of a private place. And
//! the addresses its name resolves to, each time a connection is made: a name can change its mind after it was checked. Both ask
//! [`is_public`], which knows what is public and takes everything else for private. A switch for development lets loopback
//! through, and nothing else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// A longer URL is refused.
const URL_BYTES_MAX: usize = 2_048;

/// Last labels of names that never lead to the public.
const PRIVATE_ZONES: &[&str] = &["localhost", "local", "internal", "home.arpa", "localdomain"];

/// The host that a URL leads to, with its port; all that lead nowhere are one.
pub(super) fn host(url: &str) -> String {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(|url| {
        let port = url.port_or_known_default()?;
        Some(format!("{}:{port}", url.host_str()?))
    });
    host.unwrap_or_default()
}

/// Why a webhook URL is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It cannot be parsed, or names no host.
    #[error("webhook.url is not a URL of a web server")]
    NotAUrl,
    /// It is too long.
    #[error("webhook.url has more than {URL_BYTES_MAX} bytes")]
    TooLong,
    /// Another scheme.
    #[error("webhook.url must begin with https://")]
    NotHttps,
    /// It carries credentials.
    #[error("webhook.url must not hold a user name or password")]
    Credentials,
    /// It leads to a private place.
    #[error("webhook.url must not lead to a private, local or reserved address")]
    Private,
}

/// Checks a URL as far as that goes without resolving its name.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_url(text: &str, allow_loopback: bool) -> Result<Url, TargetError> {
    if text.len() > URL_BYTES_MAX {
        return Err(TargetError::TooLong);
    }
    let url = Url::parse(text).map_err(|_syntax| TargetError::NotAUrl)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(TargetError::Credentials);
    }
    let host = url.host().ok_or(TargetError::NotAUrl)?;
    let is_web = matches!(url.scheme(), "http" | "https");
    if is_web && allow_loopback && is_loopback(&host) {
        return Ok(url);
    }
    if url.scheme() != "https" {
        return Err(TargetError::NotHttps);
    }
    let is_private = match host {
        Host::Ipv4(address) => !is_public(address.into()),
        Host::Ipv6(address) => !is_public(address.into()),
        Host::Domain(name) => is_private_name(name),
    };
    if is_private {
        return Err(TargetError::Private);
    }
    Ok(url)
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
        Host::Domain(name) => *name == "localhost",
    }
}

fn is_private_name(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    let within = |zone: &&str| {
        name.strip_suffix(*zone)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    name.is_empty() || PRIVATE_ZONES.iter().any(within)
}

/// Whether a connection for the host `name` may go to `address`.
pub fn may_connect(name: &str, address: IpAddr, allow_loopback: bool) -> bool {
    if allow_loopback && name == "localhost" {
        return address.is_loopback();
    }
    is_public(address)
}

/// Whether an address belongs to the public Internet.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Blocks that are not for the public, from IANA's registry of special-purpose addresses, and all from multicast on.
const PRIVATE_V4: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// Blocks inside the global unicast range of version 6 that are not for the public, or wrap addresses of version 4.
const PRIVATE_V6: &[(Ipv6Addr, u32)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Where translators to version 4 live.
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// All global unicast addresses of version 6.
const GLOBAL_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

fn is_public_v4(address: Ipv4Addr) -> bool {
    let within = |&(block, bits): &(Ipv4Addr, u32)| {
        (address.to_bits() ^ block.to_bits()).leading_zeros() >= bits
    };
    !PRIVATE_V4.iter().any(within)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let within = |&(block, bits): &(Ipv6Addr, u32)| {
        (address.to_bits() ^ block.to_bits()).leading_zeros() >= bits
    };
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    if within(&NAT64) {
        let [.., a, b, c, d] = address.octets();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    within(&GLOBAL_V6) && !PRIVATE_V6.iter().any(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_public_is_refused() {
        let refused = [
            ("http://example.com/hook", TargetError::NotHttps),
            ("ftp://example.com/hook", TargetError::NotHttps),
            ("http://10.0.0.1/hook", TargetError::NotHttps),
            ("file:///etc/passwd", TargetError::NotAUrl),
            ("not a url", TargetError::NotAUrl),
            ("https://", TargetError::NotAUrl),
            ("https://user@example.com/", TargetError::Credentials),
            ("https://:word@example.com/", TargetError::Credentials),
            ("https://localhost/", TargetError::Private),
            ("https://LOCALHOST./", TargetError::Private),
            ("https://a.localhost/", TargetError::Private),
            ("https://printer.local/", TargetError::Private),
            ("https://metadata.google.internal/", TargetError::Private),
            ("https://127.0.0.1/", TargetError::Private),
            ("https://127.1/", TargetError::Private),
            ("https://0x7f.1/", TargetError::Private),
            ("https://2130706433/", TargetError::Private),
            ("https://0177.0.0.1/", TargetError::Private),
            ("https://10.1.2.3/", TargetError::Private),
            ("https://172.16.0.1/", TargetError::Private),
            ("https://172.31.255.255/", TargetError::Private),
            ("https://192.168.0.1/", TargetError::Private),
            ("https://169.254.169.254/latest/", TargetError::Private),
            ("https://100.64.0.1/", TargetError::Private),
            ("https://0.0.0.0/", TargetError::Private),
            ("https://224.0.0.1/", TargetError::Private),
            ("https://255.255.255.255/", TargetError::Private),
            ("https://[::1]/", TargetError::Private),
            ("https://[::]/", TargetError::Private),
            ("https://[fe80::1]/", TargetError::Private),
            ("https://[fc00::1]/", TargetError::Private),
            ("https://[fd00:ec2::254]/", TargetError::Private),
            ("https://[ff02::1]/", TargetError::Private),
            ("https://[::ffff:127.0.0.1]/", TargetError::Private),
            ("https://[::ffff:10.0.0.1]/", TargetError::Private),
            ("https://[::127.0.0.1]/", TargetError::Private),
            ("https://[64:ff9b::10.0.0.1]/", TargetError::Private),
            ("https://[2002:0a00:0001::]/", TargetError::Private),
            ("https://[2001:db8::1]/", TargetError::Private),
            ("https://[2001::1]/", TargetError::Private),
        ];
        for (url, error) in refused {
            assert_eq!(check_url(url, false).err(), Some(error), "{url}");
        }
        let long = format!("https://example.com/{}", "a".repeat(2_048));
        assert_eq!(check_url(&long, false), Err(TargetError::TooLong));
    }

    #[test]
    fn public_https_is_taken() {
        for url in [
            "https://example.com/hook?a=b",
            "https://8.8.8.8:8443/",
            "https://172.32.0.1/",
            "https://100.128.0.1/",
            "https://[2606:4700::1]/",
            "https://[::ffff:8.8.8.8]/",
            "https://[64:ff9b::808:808]/",
            "https://internal.example.com/",
            "https://mylocalhost/",
        ] {
            assert!(check_url(url, false).is_ok(), "{url}");
            assert!(check_url(url, true).is_ok(), "{url}");
        }
    }

    #[test]
    fn the_switch_lets_loopback_through_and_nothing_else() {
        for url in [
            "http://localhost:1/",
            "http://127.9.0.1/",
            "https://127.0.0.1/",
            "http://[::1]/",
        ] {
            assert!(check_url(url, true).is_ok(), "{url}");
            assert!(check_url(url, false).is_err(), "{url}");
        }
        for url in [
            "http://10.0.0.1/hook",
            "http://0.0.0.0/",
            "http://example.com/",
            "https://169.254.169.254/",
            "http://a.localhost/",
            "ftp://127.0.0.1/",
        ] {
            assert!(check_url(url, true).is_err(), "{url}");
        }
    }

    #[test]
    fn a_name_that_resolves_to_a_private_address_is_not_connected_to() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(may_connect("example.com", address("8.8.8.8"), false));
        for private in ["127.0.0.1", "10.0.0.1", "::1", "::ffff:192.168.0.1"] {
            assert!(
                !may_connect("example.com", address(private), true),
                "{private}"
            );
            assert!(
                !may_connect("localhost", address(private), false),
                "{private}"
            );
        }
        assert!(may_connect("localhost", address("127.0.0.1"), true));
        assert!(!may_connect("localhost", address("8.8.8.8"), true));
    }
}
