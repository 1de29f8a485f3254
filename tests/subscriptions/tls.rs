//! Webhooks over TLS: called with a certificate that the system trusts, and not without one.

use std::sync::Arc;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{Broker, Receiver, by_webhook};

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, routes: Router) {
    loop {
        let (socket, _) = listener.accept().await.expect("a socket");
        let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(routes.clone()));
        tokio::spawn(async move {
            // A client that does not trust the certificate goes away here.
            if let Ok(socket) = acceptor.accept(socket).await {
                let connection = auto::Builder::new(TokioExecutor::new());
                let served = connection.serve_connection(TokioIo::new(socket), service);
                served.await.ok();
            }
        });
    }
}

#[tokio::test]
async fn a_webhook_goes_over_tls_to_whom_the_system_trusts_only() {
    let data = tempfile::tempdir().unwrap();
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let trusted = data.path().join("authorities.pem");
    std::fs::write(&trusted, cert.pem()).unwrap();
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("https://localhost:{port}/hook");
    let (receiver, routes) = Receiver::at(url, 200, r#"{"done":true}"#);
    tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), routes));

    let arguments = ["--webhooks-allow-loopback", "true"];
    let broker = Broker::start_with(&data.path().join("strict"), &arguments, &[]);
    broker
        .subscribe("sub", &by_webhook(&receiver.url, 30_000))
        .await
        .expect(201);
    broker.create("events/a", &json!(1)).await;
    broker
        .described("sub", |described| described["status"] == "failed")
        .await;
    assert!(receiver.is_quiet().await, "it was called without trust");

    let environment = [("SSL_CERT_FILE", trusted.to_str().unwrap())];
    let broker = Broker::start_with(&data.path().join("trusting"), &arguments, &environment);
    broker
        .subscribe("sub", &by_webhook(&receiver.url, 30_000))
        .await
        .expect(201);
    broker.create("events/a", &json!(1)).await;
    assert_eq!(receiver.next().await.told()["subscription_id"], "sub");
}
