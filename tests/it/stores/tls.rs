//! The way to the database.

use std::error::Error;
use std::path::Path;

use driftline::backends::store::Store;

use crate::support::services::TlsPostgres;

#[tokio::test]
async fn a_server_is_known_by_its_authority_and_refused_by_another_and_no_password_is_told() {
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let server = TlsPostgres::start();
    let open = async |authority: &Path| {
        let url = format!("{}?sslmode=verify-full&sslrootcert={}", server.url, authority.display());
        Store::open(&url, false).await
    };
    open(&server.authority).await.unwrap().ping().await.unwrap();
    let error = open(&server.other_authority).await.unwrap_err();
    let cause = error.source().unwrap().to_string();
    assert!(cause.contains("certificate"), "{cause}");
    let told = format!("{error} {cause} {error:?} {:?}", open(&server.authority).await.unwrap());
    assert!(!told.contains("not-to-be-seen"), "{told}");
}
