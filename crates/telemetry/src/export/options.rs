//! Where to export to: the flag, then the standard `OTEL_*` variables.

use std::{fmt, str::FromStr, time::Duration};

use http::Uri;
use percent_encoding::percent_decode_str;
use tonic::{
    codec::CompressionEncoding,
    metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue},
};

use super::ExportError;

/// Time for one request unless said otherwise; OpenTelemetry's own.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_ENDPOINT: &str = "http://localhost:4317";

/// A collector and how to talk to it.
#[derive(Clone)]
pub struct ExportOptions {
    pub(super) endpoint: Uri,
    pub(super) headers: MetadataMap,
    pub(super) timeout: Duration,
    pub(super) compression: Option<CompressionEncoding>,
    pub(crate) resource_attributes: Vec<(String, String)>,
}

impl ExportOptions {
    /// What the flag `--otlp` and the environment ask for; `None`: no export.
    ///
    /// Followed are OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER, OTEL_EXPORTER_OTLP_{ENDPOINT, HEADERS, TIMEOUT, PROTOCOL,
    /// COMPRESSION}, each also as OTEL_EXPORTER_OTLP_TRACES_*, and OTEL_RESOURCE_ATTRIBUTES. The flag comes first; with
    /// neither a flag nor an endpoint there is no export, unless OTEL_TRACES_EXPORTER asks for `otlp` by name.
    pub fn resolve(flag: Option<&str>, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, ExportError> {
        let env = |name: &str| env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let wanted = if flag.is_none() { wanted(&env)? } else { Wanted::IfSomewhere };
        if wanted == Wanted::No {
            return Ok(None);
        }
        let specific = |name: &str| {
            let [traces, general] = [format!("OTEL_EXPORTER_OTLP_TRACES_{name}"), format!("OTEL_EXPORTER_OTLP_{name}")];
            let found = env(&traces).map(|value| (traces, value));
            found.or_else(|| env(&general).map(|value| (general, value)))
        };
        let (setting, address) =
            match flag.map(|flag| ("--otlp".to_owned(), flag.to_owned())).or_else(|| specific("ENDPOINT")) {
                Some(found) => found,
                None if wanted == Wanted::ByName => ("OTEL_TRACES_EXPORTER".into(), DEFAULT_ENDPOINT.into()),
                None => return Ok(None),
            };
        if let Some((setting, value)) = specific("PROTOCOL")
            && value != "grpc"
        {
            return Err(ExportError::Value {
                setting,
                value,
                expected: "`grpc`, the protocol that Meshloom exports with",
            });
        }
        Ok(Some(Self {
            endpoint: endpoint(&setting, &address)?,
            headers: specific("HEADERS")
                .map_or(Ok(MetadataMap::new()), |(setting, value)| headers(&setting, &value))?,
            timeout: specific("TIMEOUT")
                .map_or(Ok(DEFAULT_TIMEOUT), |(setting, value)| milliseconds(setting, value))?,
            compression: specific("COMPRESSION").map_or(Ok(None), |(setting, value)| compression(setting, value))?,
            resource_attributes: resource_attributes(&env)?,
        }))
    }

    /// The collector's address.
    pub fn endpoint(&self) -> String {
        self.endpoint.to_string()
    }
}

/// Without the values of headers, which may be secret.
impl fmt::Debug for ExportOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<String> = self.headers.as_ref().keys().map(ToString::to_string).collect();
        f.debug_struct("ExportOptions")
            .field("endpoint", &self.endpoint)
            .field("headers", &headers)
            .field("timeout", &self.timeout)
            .field("compression", &self.compression)
            .field("resource_attributes", &self.resource_attributes)
            .finish()
    }
}

#[derive(PartialEq)]
enum Wanted {
    No,
    IfSomewhere,
    ByName,
}

fn wanted(env: &dyn Fn(&str) -> Option<String>) -> Result<Wanted, ExportError> {
    if disabled(env) {
        return Ok(Wanted::No);
    }
    match env("OTEL_TRACES_EXPORTER") {
        None => Ok(Wanted::IfSomewhere),
        Some(value) if value == "none" => Ok(Wanted::No),
        Some(value) if value == "otlp" => Ok(Wanted::ByName),
        Some(value) => {
            Err(ExportError::Value { setting: "OTEL_TRACES_EXPORTER".into(), value, expected: "`otlp` or `none`" })
        }
    }
}

/// Whether OTEL_SDK_DISABLED says so.
pub(crate) fn disabled(env: &dyn Fn(&str) -> Option<String>) -> bool {
    env("OTEL_SDK_DISABLED").is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}

fn endpoint(setting: &str, value: &str) -> Result<Uri, ExportError> {
    let refused =
        |reason: &str| ExportError::Endpoint { setting: setting.into(), value: value.into(), reason: reason.into() };
    let with_scheme = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let uri = Uri::from_str(&with_scheme).map_err(|error| refused(&error.to_string()))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        other => {
            return Err(refused(&format!("its scheme is `{}`, not http or https", other.unwrap_or(""))));
        }
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(refused("it holds a user name; credentials belong into OTEL_EXPORTER_OTLP_HEADERS"));
    }
    if !matches!(uri.path(), "" | "/") {
        return Err(refused("it has a path, as for OTLP over HTTP"));
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(refused("it names no host"));
    }
    Ok(uri)
}

fn milliseconds(setting: String, value: String) -> Result<Duration, ExportError> {
    match value.parse() {
        Ok(number) if number > 0 => Ok(Duration::from_millis(number)),
        _ => Err(ExportError::Value { setting, value, expected: "a number of milliseconds, such as 10000" }),
    }
}

fn compression(setting: String, value: String) -> Result<Option<CompressionEncoding>, ExportError> {
    match value.as_str() {
        "none" => Ok(None),
        "gzip" => Ok(Some(CompressionEncoding::Gzip)),
        _ => Err(ExportError::Value { setting, value, expected: "`gzip` or `none`" }),
    }
}

fn headers(setting: &str, value: &str) -> Result<MetadataMap, ExportError> {
    let mut headers = MetadataMap::new();
    for (number, (name, value)) in pairs(setting, value)?.into_iter().enumerate() {
        let refused = || ExportError::Pairs { setting: setting.into(), number: number + 1 };
        let name = MetadataKey::<Ascii>::from_bytes(name.to_ascii_lowercase().as_bytes()).map_err(|_| refused())?;
        let mut value = MetadataValue::<Ascii>::from_str(&value).map_err(|_| refused())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// OTEL_RESOURCE_ATTRIBUTES.
pub(crate) fn resource_attributes(env: &dyn Fn(&str) -> Option<String>) -> Result<Vec<(String, String)>, ExportError> {
    const SETTING: &str = "OTEL_RESOURCE_ATTRIBUTES";
    env(SETTING).map_or(Ok(Vec::new()), |value| pairs(SETTING, &value))
}

fn pairs(setting: &str, value: &str) -> Result<Vec<(String, String)>, ExportError> {
    let entries = value.split(',').enumerate().filter(|(_, entry)| !entry.trim().is_empty());
    entries
        .map(|(index, entry)| {
            let refused = || ExportError::Pairs { setting: setting.into(), number: index + 1 };
            let (name, value) = entry.split_once('=').ok_or_else(refused)?;
            let value = percent_decode_str(value.trim()).decode_utf8().map_err(|_| refused())?;
            match name.trim() {
                "" => Err(refused()),
                name => Ok((name.to_owned(), value.into_owned())),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(flag: Option<&str>, env: &[(&str, &str)]) -> Result<Option<ExportOptions>, ExportError> {
        ExportOptions::resolve(flag, &|name| {
            env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn endpoint_of(flag: Option<&str>, env: &[(&str, &str)]) -> Option<String> {
        resolve(flag, env).unwrap().map(|options| options.endpoint())
    }

    const GENERAL: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general:4317");
    const TRACES: (&str, &str) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "traces:4317");

    #[test]
    fn the_flag_then_traces_then_general() {
        assert_eq!(endpoint_of(None, &[]), None);
        assert_eq!(endpoint_of(None, &[GENERAL]).unwrap(), "http://general:4317/");
        assert_eq!(endpoint_of(None, &[GENERAL, TRACES]).unwrap(), "http://traces:4317/");
        assert_eq!(endpoint_of(Some("127.0.0.1:1"), &[GENERAL, TRACES]).unwrap(), "http://127.0.0.1:1/");
    }

    #[test]
    fn switching_off_and_on() {
        for off in [("OTEL_SDK_DISABLED", "True"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(endpoint_of(None, &[GENERAL, off]), None, "{off:?}");
            assert!(endpoint_of(Some("localhost:4317"), &[off]).is_some(), "what is typed comes first");
        }
        assert_eq!(endpoint_of(None, &[("OTEL_TRACES_EXPORTER", "otlp")]).unwrap(), "http://localhost:4317/");
        assert_eq!(endpoint_of(None, &[GENERAL, ("OTEL_SDK_DISABLED", "false")]).unwrap(), "http://general:4317/");
        assert_eq!(endpoint_of(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), None);
    }

    #[test]
    fn headers_time_compression_and_attributes() {
        let options = resolve(
            None,
            &[
                GENERAL,
                ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20s3cret, x-team = blue"),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
                ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2500"),
                ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
                ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=prod,host.name=a%2Cb,"),
            ],
        )
        .unwrap()
        .unwrap();
        assert_eq!(options.headers.get("authorization").unwrap(), "Bearer s3cret");
        assert_eq!(options.headers.get("x-team").unwrap(), "blue");
        assert_eq!(options.timeout, Duration::from_millis(2500));
        assert_eq!(options.compression, Some(CompressionEncoding::Gzip));
        assert_eq!(options.resource_attributes[1], ("host.name".into(), "a,b".into()));
        assert!(!format!("{options:?}").contains("s3cret"));
    }

    #[test]
    fn every_bad_setting_is_named_with_a_remedy() {
        let cases: [(&[(&str, &str)], &str); 8] = [
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://x")], "its scheme is `ftp`"),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://x:4318/v1/traces")], "has a path"),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a b")], "OTEL_EXPORTER_OTLP_ENDPOINT: `http://a b`"),
            (&[GENERAL, ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s")], "a number of milliseconds"),
            (&[GENERAL, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")], "is not `grpc`"),
            (&[GENERAL, ("OTEL_EXPORTER_OTLP_HEADERS", "a=b,s3cret")], "OTEL_EXPORTER_OTLP_HEADERS: entry 2"),
            (&[GENERAL, ("OTEL_RESOURCE_ATTRIBUTES", "=x")], "OTEL_RESOURCE_ATTRIBUTES: entry 1"),
            (&[("OTEL_TRACES_EXPORTER", "zipkin")], "`otlp` or `none`"),
        ];
        for (env, expected) in cases {
            let error = resolve(None, env).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("s3cret"), "{env:?}: {error}");
        }
        assert!(resolve(Some("http://u:p@x"), &[]).unwrap_err().to_string().contains("--otlp"));
    }
}
