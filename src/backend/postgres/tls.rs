//! TLS: who is trusted, and how much of a certificate is looked at.

use std::{error::Error, path::Path, sync::Arc};

use rustls::{
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        WebPkiServerVerifier,
    },
    crypto::{
        ring::default_provider, verify_tls12_signature, verify_tls13_signature, CryptoProvider,
    },
    pki_types::{pem::PemObject, CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::{
    error::PostgresError,
    options::{Options, SslMode},
};

/// The client's side of TLS; `None` if there is to be none.
pub(super) fn config(options: &Options) -> Result<Option<ClientConfig>, PostgresError> {
    let check = match (options.sslmode, &options.sslrootcert) {
        (SslMode::Disable, _) => return Ok(None),
        // As libpq does: whoever names an authority wants it to be asked.
        (SslMode::Require, Some(_)) | (SslMode::VerifyCa, _) => Check::Issuer,
        (SslMode::VerifyFull, _) => Check::All,
        (SslMode::Prefer | SslMode::Require, _) => Check::Nothing,
    };
    let provider = Arc::new(default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match check {
        Check::Nothing => Arc::new(AnyServer(provider.clone())),
        Check::Issuer => Arc::new(AnyName(verifier(options, &provider)?)),
        Check::All => verifier(options, &provider)?,
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| failed("TLS", e))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match (&options.sslcert, &options.sslkey) {
        (Some(cert), Some(key)) => {
            let chain = certificates(cert)?;
            let key_der = PrivateKeyDer::from_pem_file(key).map_err(|e| failed_file(key, e))?;
            let with = builder.with_client_auth_cert(chain, key_der);
            with.map_err(|e| failed_file(cert, e))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Some(config))
}

enum Check {
    Nothing,
    Issuer,
    All,
}

fn failed(
    what: impl Into<String>,
    source: impl Into<Box<dyn Error + Send + Sync>>,
) -> PostgresError {
    PostgresError::Tls {
        what: what.into(),
        source: source.into(),
    }
}

fn failed_file(path: &Path, source: impl Into<Box<dyn Error + Send + Sync>>) -> PostgresError {
    failed(path.display().to_string(), source)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PostgresError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found: Vec<_> = read.map_err(|e| failed_file(path, e))?;
    match found.is_empty() {
        true => Err(failed_file(path, "no certificate in it")),
        false => Ok(found),
    }
}

fn verifier(
    options: &Options,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, PostgresError> {
    let mut roots = RootCertStore::empty();
    let what = match &options.sslrootcert {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|e| failed_file(path, e))?;
            }
            path.display().to_string()
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            "certificates of the system".to_owned()
        }
    };
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|e| failed(what, e))
}

/// Takes any server for the right one. What it signs is checked nevertheless.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Everything is checked but the name.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        let checked =
            self.0
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match checked {
            // The name comes last: the issuer was found good.
            Err(rustls::Error::InvalidCertificate(
                NotValidForName | NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
