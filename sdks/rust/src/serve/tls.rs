//! TLS from three environment variables.

use std::{env, fs};

use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use super::ServeError;

const CERT: &str = "MESHLOOM_TLS_CERT";
const KEY: &str = "MESHLOOM_TLS_KEY";
const CLIENT_CA: &str = "MESHLOOM_TLS_CLIENT_CA";

/// The server's identity, and whether it is mutual TLS; `None` without the variables.
pub(super) fn from_environment() -> Result<Option<(ServerTlsConfig, bool)>, ServeError> {
    let (cert, key, ca) = (read(CERT)?, read(KEY)?, read(CLIENT_CA)?);
    let (cert, key) = match (cert, key) {
        (None, None) if ca.is_none() => return Ok(None),
        (Some(cert), Some(key)) => (cert, key),
        (None, _) => return Err(missing(CERT)),
        (_, None) => return Err(missing(KEY)),
    };
    let config = ServerTlsConfig::new().identity(Identity::from_pem(cert, key));
    Ok(Some(match ca {
        Some(ca) => (config.client_ca_root(Certificate::from_pem(ca)), true),
        None => (config, false),
    }))
}

fn missing(variable: &'static str) -> ServeError {
    ServeError::Environment {
        variable,
        message: format!(
            "is not set; TLS needs {CERT} and {KEY}, and {CLIENT_CA} for mutual TLS, each the path of a PEM file"
        ),
    }
}

fn read(variable: &'static str) -> Result<Option<Vec<u8>>, ServeError> {
    let Ok(path) = env::var(variable) else {
        return Ok(None);
    };
    fs::read(&path).map(Some).map_err(|error| ServeError::Environment {
        variable,
        message: format!("`{path}` cannot be read ({error}); it names a PEM file"),
    })
}
