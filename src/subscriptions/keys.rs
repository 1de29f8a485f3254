//! The broker's secrets for subscriptions: the Ed25519 key that signs webhooks, and the key of the workers' tokens.
//!
//! Both are made together at first need and kept in the store ([`Secrets`]); whoever can read the data directory can sign. The
//! public key is shown as a JWK whose `kid` is its RFC 7638 thumbprint, so that it names this key and no other.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use ring::{digest, hmac};
use serde::{Deserialize, Serialize};

use crate::types::Timestamp;

/// The secrets as they are stored.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Secrets {
    /// Seed of the signing key: 32 bytes in base64url.
    signing_seed: String,
    /// Key of the tokens: 32 bytes in base64url.
    token_key: String,
}

/// The secrets cannot be made or used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyError {
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
    /// What is stored is no pair of keys.
    #[error("the stored keys are damaged")]
    Damaged,
}

/// 32 random bytes.
pub(super) fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_unspecified| KeyError::NoRandomness)?;
    Ok(bytes)
}

impl Secrets {
    /// New ones.
    pub(super) fn generate() -> Result<Self, KeyError> {
        Ok(Self {
            signing_seed: URL_SAFE_NO_PAD.encode(random::<32>()?),
            token_key: URL_SAFE_NO_PAD.encode(random::<32>()?),
        })
    }
}

/// The keys, ready for use.
pub(super) struct Keys {
    signing: Ed25519KeyPair,
    kid: String,
    tokens: hmac::Key,
}

impl std::fmt::Debug for Keys {
    /// Never shows a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl Keys {
    /// Takes stored secrets.
    pub(super) fn new(secrets: &Secrets) -> Result<Self, KeyError> {
        let bytes = |text: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok();
            bytes
                .filter(|bytes| bytes.len() == 32)
                .ok_or(KeyError::Damaged)
        };
        let seed = bytes(&secrets.signing_seed)?;
        let signing =
            Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_rejected| KeyError::Damaged)?;
        let tokens = hmac::Key::new(hmac::HMAC_SHA256, &bytes(&secrets.token_key)?);
        let x = URL_SAFE_NO_PAD.encode(signing.public_key());
        // The members a thumbprint is taken of, in their order.
        let thumbprint = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let digest = digest::digest(&digest::SHA256, thumbprint.as_bytes());
        let kid = format!("ds_{}", URL_SAFE_NO_PAD.encode(digest));
        Ok(Self {
            signing,
            kid,
            tokens,
        })
    }

    /// Names the signing key.
    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// The public keys, as a JWK set.
    pub(super) fn jwks(&self) -> serde_json::Value {
        serde_json::json!({ "keys": [{
            "kty": "OKP",
            "crv": "Ed25519",
            "kid": self.kid,
            "use": "sig",
            "alg": "EdDSA",
            "x": URL_SAFE_NO_PAD.encode(self.signing.public_key()),
        }]})
    }

    /// The value of `Webhook-Signature` for a body sent now.
    pub(super) fn sign(&self, body: &[u8], now: Timestamp) -> String {
        let seconds = now.0 / 1_000_000;
        let mut signed = format!("{seconds}.").into_bytes();
        signed.extend_from_slice(body);
        let signature = URL_SAFE_NO_PAD.encode(self.signing.sign(&signed));
        format!("t={seconds},kid={},ed25519={signature}", self.kid)
    }

    /// The key of the tokens.
    pub(super) fn tokens(&self) -> &hmac::Key {
        &self.tokens
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_signature_holds_for_its_time_and_body_only() {
        let keys = Keys::new(&Secrets::generate().unwrap()).unwrap();
        let header = keys.sign(b"body", Timestamp(5_999_999));
        let signature = header
            .strip_prefix(&format!("t=5,kid={},ed25519=", keys.kid()))
            .expect("the form of the header");
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let jwks = keys.jwks();
        let x = URL_SAFE_NO_PAD
            .decode(jwks["keys"][0]["x"].as_str().unwrap())
            .unwrap();
        let public = UnparsedPublicKey::new(&ED25519, x);
        assert!(public.verify(b"5.body", &signature).is_ok());
        assert!(public.verify(b"6.body", &signature).is_err());
        assert!(public.verify(b"5.Body", &signature).is_err());
    }

    #[test]
    fn the_key_id_is_the_thumbprint_of_rfc_8037() {
        // The key and the thumbprint of RFC 8037, appendix A.
        let secrets = Secrets {
            signing_seed: "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A".into(),
            token_key: URL_SAFE_NO_PAD.encode([7; 32]),
        };
        let keys = Keys::new(&secrets).unwrap();
        assert_eq!(keys.kid(), "ds_kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(
            keys.jwks()["keys"][0]["x"],
            "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
        );
    }

    #[test]
    fn damaged_secrets_are_no_keys() {
        let secrets = Secrets {
            signing_seed: "AAAA".into(),
            token_key: String::new(),
        };
        assert_eq!(Keys::new(&secrets).err(), Some(KeyError::Damaged));
    }
}
