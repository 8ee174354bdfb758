//! `https://`, against a server with a certificate of its own.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{Client, ErrorCode};

/// Answers two requests on each connection; what trusts it.
fn serve() -> (String, Arc<rustls::ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || {
                let mut stream = rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), socket);
                let body = r#"{"flags":[{"key":"f","value":true}]}"#;
                for _ in 0..2 {
                    if stream.read(&mut [0; 4096]).is_ok_and(|found| found > 0) {
                        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                        drop(stream.write_all(answer.as_bytes()));
                    }
                }
            });
        }
    });
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    (url, Arc::new(client.with_root_certificates(roots).with_no_client_auth()))
}

#[test]
fn a_server_that_is_trusted_is_asked_and_another_is_not() {
    let (url, trusting) = serve();
    let client = Client::builder().url(&url).token("co_x").events(false).tls(trusting).build().unwrap();
    for number in 0..3 {
        assert!(client.boolean("f", false, number));
    }
    let (_, another) = serve();
    let client = Client::builder().url(&url).token("co_x").events(false).tls(another).build().unwrap();
    let details = client.details("f", false, "1");
    assert_eq!((details.value, details.error_code), (false, Some(ErrorCode::ProviderNotReady)));
    assert!(details.error_message.unwrap().contains("certificate"));
}

#[test]
fn a_server_that_hangs_before_it_says_who_it_is_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let (_, config) = serve();
    let client = Client::builder()
        .url(url)
        .token("co_x")
        .events(false)
        .tls(config)
        .timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    let began = Instant::now();
    assert_eq!(client.details("f", true, "1").error_code, Some(ErrorCode::ProviderNotReady));
    assert!(began.elapsed() < Duration::from_secs(4));
}
