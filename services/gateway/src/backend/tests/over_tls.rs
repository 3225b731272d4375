//! The client over TLS: whom it trusts, the certificate that it shows, a reload, and HTTP/2.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use actix_http::Version;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs as provider,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;

/// A certificate that signs itself, with its key.
struct TestCertificate(rcgen::CertifiedKey<rcgen::KeyPair>);

impl TestCertificate {
    fn new(name: &str) -> Self {
        Self(rcgen::generate_simple_self_signed([name.to_owned()]).unwrap())
    }

    fn pem(&self) -> String {
        self.0.cert.pem()
    }

    /// A server with it. `clients`: who must show a certificate that this one signed.
    fn acceptor(&self, clients: Option<&TestCertificate>, protocol: &str) -> TlsAcceptor {
        let crypto = Arc::new(provider::default_provider());
        let builder =
            ServerConfig::builder_with_provider(crypto.clone()).with_safe_default_protocol_versions();
        let builder = match clients {
            None => builder.unwrap().with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.0.cert.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), crypto);
                builder.unwrap().with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.0.signing_key.serialize_der()));
        let mut config = builder.with_single_cert(vec![self.0.cert.der().clone()], key).unwrap();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A server over TLS that answers every request with an empty object. Counts its connections.
async fn serve(acceptor: TlsAcceptor) -> (String, Rc<Cell<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/hook", listener.local_addr().unwrap().port());
    let connections = Rc::new(Cell::new(0));
    let count = connections.clone();
    actix_rt::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(socket).await else { continue };
            count.set(count.get() + 1);
            actix_rt::spawn(async move {
                let mut bytes = [0; 4096];
                // Each request of these tests comes in one piece or its end comes last.
                while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                    if bytes[..read].ends_with(b"{}") {
                        drop(stream.write_all(&answer(200, "", b"{}")).await);
                    }
                }
            });
        }
    });
    (url, connections)
}

fn client_with(url: &str, settings: &BackendTlsSettings, http2: bool) -> (BackendClient, Arc<BackendTls>) {
    let tls = Arc::new(BackendTls::open(settings, http2).unwrap());
    let target = BackendTarget {
        endpoint: url.parse().unwrap(),
        tls: tls.clone(),
        timeout: Duration::from_secs(20),
        pool_limit: 8,
        max_response_bytes: 1024,
    };
    (BackendClient::new(Arc::new(target)).unwrap(), tls)
}

fn trusting(certificate: &TestCertificate) -> BackendTlsSettings {
    BackendTlsSettings { ca_pem: certificate.pem(), ..BackendTlsSettings::default() }
}

#[actix_rt::test]
async fn a_backend_is_believed_if_its_certificate_is_trusted_and_has_its_name() {
    let (good, other) = (TestCertificate::new("localhost"), TestCertificate::new("localhost"));
    let (url, connections) = serve(good.acceptor(None, "http/1.1")).await;
    let (client, _) = client_with(&url, &trusting(&good), false);
    post(&client, soon()).await.unwrap();
    post(&client, soon()).await.unwrap();
    assert_eq!(connections.get(), 1, "a connection over TLS is used again");
    let (client, _) = client_with(&url, &trusting(&other), false);
    let error = post(&client, soon()).await.unwrap_err();
    assert!(matches!(error, PostError::Connect(_)), "{error}");
    let (client, _) = client_with(&url.replace("localhost", "127.0.0.1"), &trusting(&good), false);
    assert!(matches!(post(&client, soon()).await.unwrap_err(), PostError::Connect(_)), "another name");
    let skip = BackendTlsSettings { insecure_skip_verify: true, ..BackendTlsSettings::default() };
    let (client, _) = client_with(&url, &skip, false);
    post(&client, soon()).await.unwrap();
}

#[actix_rt::test]
async fn the_name_in_the_certificate_may_be_another_one_than_the_endpoints_host() {
    let certificate = TestCertificate::new("backend.internal");
    let (url, _) = serve(certificate.acceptor(None, "http/1.1")).await;
    let (client, _) = client_with(&url, &trusting(&certificate), false);
    assert!(post(&client, soon()).await.is_err());
    let named = BackendTlsSettings { server_name: "backend.internal".to_owned(), ..trusting(&certificate) };
    let (client, _) = client_with(&url, &named, false);
    post(&client, soon()).await.unwrap();
}

#[actix_rt::test]
async fn the_node_shows_its_certificate_to_a_backend_that_asks_for_one() {
    let (server, node) = (TestCertificate::new("localhost"), TestCertificate::new("node"));
    let (url, _) = serve(server.acceptor(Some(&node), "http/1.1")).await;
    let (client, _) = client_with(&url, &trusting(&server), false);
    assert!(post(&client, soon()).await.is_err());
    let with_certificate = BackendTlsSettings {
        cert_pem: node.pem(),
        key_pem: node.0.signing_key.serialize_pem(),
        ..trusting(&server)
    };
    let (client, _) = client_with(&url, &with_certificate, false);
    post(&client, soon()).await.unwrap();
}

#[actix_rt::test]
async fn after_a_reload_the_next_call_connects_with_the_new_files() {
    let (good, other) = (TestCertificate::new("localhost"), TestCertificate::new("localhost"));
    let (url, connections) = serve(good.acceptor(None, "http/1.1")).await;
    let (client, tls) = client_with(&url, &trusting(&good), false);
    post(&client, soon()).await.unwrap();
    tls.replace_by(&BackendTls::open(&trusting(&other), false).unwrap());
    assert!(post(&client, soon()).await.is_err());
    tls.replace_by(&BackendTls::open(&trusting(&good), false).unwrap());
    post(&client, soon()).await.unwrap();
    assert_eq!(connections.get(), 2);
}

#[actix_rt::test]
async fn a_connection_of_http2_that_goes_away_is_replaced_by_a_call_that_was_not_processed() {
    let certificate = TestCertificate::new("localhost");
    let acceptor = certificate.acceptor(None, "h2");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/hook", listener.local_addr().unwrap().port());
    let requests: Rc<RefCell<Vec<(usize, Version)>>> = Rc::default();
    let closed = Rc::new(Cell::new(0));
    let (seen, ended) = (requests.clone(), closed.clone());
    actix_rt::spawn(async move {
        for connection in 0.. {
            let (socket, _) = listener.accept().await.unwrap();
            let stream = acceptor.accept(socket).await.unwrap();
            let (seen, ended) = (seen.clone(), ended.clone());
            actix_rt::spawn(async move {
                let mut http2 = h2::server::handshake(stream).await.unwrap();
                // One request each, and then GOAWAY.
                if let Some(Ok((request, mut respond))) = http2.accept().await {
                    seen.borrow_mut().push((connection, request.version()));
                    let mut stream = respond.send_response(Default::default(), false).unwrap();
                    stream.send_data(Bytes::from_static(b"{}"), true).unwrap();
                    http2.graceful_shutdown();
                    while let Some(Ok(_)) = http2.accept().await {}
                }
                ended.set(ended.get() + 1);
            });
        }
    });
    let (client, _) = client_with(&url, &trusting(&certificate), true);
    let first = post(&client, soon()).await.unwrap();
    assert_eq!((first.status.as_u16(), &first.body[..]), (200, &b"{}"[..]));
    until(|| closed.get() == 1).await;
    // At most one call meets the dead connection, and knows that it was not processed.
    if let Err(error) = post(&client, soon()).await {
        assert!(matches!(error, PostError::Connect(_)), "{error}");
        post(&client, soon()).await.unwrap();
    }
    assert_eq!(*requests.borrow(), [(0, Version::HTTP_2), (1, Version::HTTP_2)]);
}
