//! Files of an endpoint that change while the node runs: the certificates that it trusts, and its secrets.

use std::sync::Arc;

use parking_lot::Mutex;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs as provider,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use super::super::receiver::{Answer, ChangingTls, ReceivedRequest, Receiver, status};
use super::fixture::{Fixture, endpoint};
use crate::{backend::Signer, hooks::deliver::HookDelivery};

const FIRST_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SECOND_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// A certificate that signs itself, as PEM, and a server with it.
fn certificate() -> (String, Arc<ServerConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (made.cert.pem(), Arc::new(config))
}

/// Each connection is for one request, so that the next one sees the certificate of its time.
fn close(_: usize, _: &ReceivedRequest) -> Answer {
    status("200 OK\r\nConnection: close")
}

#[actix_rt::test]
async fn after_a_reload_an_endpoint_is_believed_by_its_new_certificate_and_sent_a_new_signature() {
    let ((first, first_server), (second, second_server)) = (certificate(), certificate());
    let tls: ChangingTls = Arc::new(Mutex::new(first_server));
    let receiver = Receiver::start_over(Some(tls.clone()), close).await;
    let files = std::env::temp_dir().join(format!("gorani-hooks-{}", std::process::id()));
    std::fs::create_dir_all(&files).unwrap();
    let (trusted, secrets) = (files.join("ca.pem"), files.join("secrets"));
    std::fs::write(&trusted, &first).unwrap();
    std::fs::write(&secrets, FIRST_SECRET).unwrap();
    let mut settings = endpoint(&receiver);
    settings.tls.ca_pem_file.clone_from(&trusted);
    settings.secrets_file.clone_from(&secrets);
    let fixture = Fixture::new(vec![settings]).await;
    let delivery =
        HookDelivery::new(&fixture.settings, "n1".into(), fixture.broker.clone(), fixture.leases.clone());
    let delivery = Arc::new(delivery.unwrap());
    fixture.add(&["a"]).await;
    actix_rt::spawn(delivery.clone().run(fixture.metrics.hooks.clone()));
    receiver.wait(1).await;
    fixture.until(|head| head.length == 0).await;

    *tls.lock() = second_server;
    fixture.add(&["b"]).await;
    delivery.wake(0);
    let head = fixture.until(|head| head.state.tries > 0).await;
    assert_eq!((head.length, receiver.requests().len()), (1, 1), "nobody vouches for it");

    std::fs::write(&trusted, "no certificate").unwrap();
    assert!(delivery.read_files().is_err());
    std::fs::write(&trusted, &second).unwrap();
    std::fs::write(&secrets, SECOND_SECRET).unwrap();
    delivery.replace_files(&delivery.read_files().unwrap());
    let requests = receiver.wait(2).await;
    assert_eq!(requests[1].channels(), ["b"]);
    for (request, secret) in requests.iter().zip([FIRST_SECRET, SECOND_SECRET]) {
        let signer = Signer::new(vec![secret.parse().unwrap()]);
        let time = request.headers["webhook-timestamp"].parse().unwrap();
        for (name, text) in signer.headers(&request.headers["webhook-id"], time, &request.body) {
            assert_eq!(request.headers[name], text, "{name}");
        }
    }
    std::fs::remove_dir_all(&files).unwrap();
}
