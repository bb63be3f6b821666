//! O: how streams open and are refused.

use meshloom_proto::v1::{self, process_request::Request};
use prost::Message as _;
use serde_json::json;
use tonic::Code;

use super::{error_info, fared, refuses};
use crate::{
    check::area,
    client::{Process, Work},
    context::Context,
    fault::{Outcome, holds, same},
};

area! {
    "open.first-request" Core Shared ["O1"] "a first request that is not `open` is refused" => first_request;
    "open.second-open" Core Shared ["O1"] "a second `open` ends the stream" => second_open;
    "open.protocol" Core Shared ["O2"] "the highest common version is chosen" => protocol;
    "open.protocol-unsupported" Core Shared ["O2", "O8"] "without a common version the side to upgrade is named" => unsupported;
    "open.protocol-malformed" Core Shared ["O2"] "a range that is none is refused" => range;
    "open.handler-unknown" Core Shared ["O3"] "a handler that is not there is refused, and the others are listed" => unknown;
    "open.handler-unnamed" Core Shared ["O3"] "no name is refused where there are several handlers" => unnamed;
    "open.config" Core Shared ["O4"] "a config reaches the handler; none, and an empty object, are none" => config;
    "open.config-type" Core Shared ["O4"] "a value of another type is refused with its field" => config_type;
    "open.config-unknown-key" Core Shared ["O4"] "keys that the handler does not know are refused" => config_key;
    "open.config-all-at-once" Core Shared ["O4"] "all violations are told at once" => config_all;
    "open.config-no-object" Core Shared ["O4"] "what is no JSON object in UTF-8 is refused" => config_none;
    "open.setup-refuses" Core Shared ["O4", "O5"] "set-up can refuse a field of the config" => setup_refuses;
    "open.setup-fails" Core Shared ["O6"] "a set-up that fails is UNAVAILABLE / SETUP_FAILED" => setup_fails;
    "open.setup-again" Core Fresh ["O6"] "the next open runs a set-up again that has failed" => setup_again;
    "open.capabilities" Core Shared ["O7"] "capabilities that were not offered, or not known, are not taken" => capabilities;
    "open.concurrency" Core Shared ["O9"] "no more calls run at one time than were asked for" => concurrency;
}

async fn first_request(context: &Context) -> Outcome {
    let work = Request::Cancel(v1::Cancel { sequence: 1, reason: String::new() });
    let request = v1::ProcessRequest { request: Some(work) }.encode_to_vec();
    let stream = Process::raw(context, "map", request.into());
    error_info(&stream.refused().await?, Code::InvalidArgument, "PROTOCOL_VIOLATION").map(drop)
}

async fn second_open(context: &Context) -> Outcome {
    let open = context.open("map");
    let again = Request::Open(open.message.clone());
    let stream = open.start().await?;
    stream.send_request(again);
    error_info(&stream.ended().await?, Code::InvalidArgument, "PROTOCOL_VIOLATION").map(drop)
}

fn ranged(min: u32, max: u32) -> impl FnOnce(&mut v1::OpenProcess) {
    move |open| open.protocol = Some(v1::ProtocolRange { min, max })
}

async fn protocol(context: &Context) -> Outcome {
    let node = context.described.protocol.unwrap_or_default();
    for (min, max) in [(node.min, node.max), (1, node.max), (1, 1000)] {
        let stream = context.open("map").with(ranged(min, max)).start().await?;
        let chosen = stream.opened().await?.protocol;
        same(&format!("the version chosen of {min} to {max}"), &node.max, &chosen)?;
        stream.finish().await?;
    }
    Ok(())
}

async fn unsupported(context: &Context) -> Outcome {
    let node = context.described.protocol.unwrap_or_default();
    let status = context.open("map").with(ranged(node.max + 1, node.max + 3)).refused().await?;
    let metadata = error_info(&status, Code::FailedPrecondition, "PROTOCOL_UNSUPPORTED")?;
    let told = |key: &str| metadata.get(key).map(String::as_str);
    let expected = (Some("node"), Some((node.max + 1).to_string()));
    same("`upgrade` and `to`", &expected, &(told("upgrade"), told("to").map(str::to_owned)))
}

async fn range(context: &Context) -> Outcome {
    let status = context.open("map").with(|open| open.protocol = None).refused().await?;
    refuses(&status, &["protocol"]).map_err(|fault| fault.at("no range"))?;
    for (min, max) in [(0, 1), (2, 1), (0, 0)] {
        let status = context.open("map").with(ranged(min, max)).refused().await?;
        refuses(&status, &["protocol"]).map_err(|fault| fault.at(&format!("the range {min} to {max}")))?;
    }
    Ok(())
}

async fn unknown(context: &Context) -> Outcome {
    let status = context.open("no-such").refused().await?;
    error_info(&status, Code::NotFound, "HANDLER_UNKNOWN")?;
    let listed = context.described.handlers.iter().all(|handler| status.message().contains(&handler.name));
    holds(listed, "a message that lists the handlers", || status.message().to_owned())
}

async fn unnamed(context: &Context) -> Outcome {
    error_info(&context.open("").refused().await?, Code::NotFound, "HANDLER_UNKNOWN").map(drop)
}

async fn label(context: &Context, config: &'static [u8]) -> Outcome<serde_json::Value> {
    let mut stream = context.open("map").with(|open| open.config_json = config.into()).start().await?;
    let answer = stream.work(Work::commands(&[json!({"do": "context"})])).await?;
    fared("`context`", &answer, &["out"])?;
    stream.finish().await?;
    let told: serde_json::Value = serde_json::from_slice(&answer.rows[0].event.payload).unwrap_or_default();
    Ok(told["label"].clone())
}

async fn config(context: &Context) -> Outcome {
    same("the label of no config", &json!(""), &label(context, b"").await?)?;
    same("the label of {}", &json!(""), &label(context, b"{}").await?)?;
    same("the label of a config", &json!("h\u{e9}"), &label(context, "{\"label\": \"h\u{e9}\"}".as_bytes()).await?)
}

async fn config_type(context: &Context) -> Outcome {
    for (config, field) in
        [(json!({"label": 5}), "label"), (json!({"setup": true}), "setup"), (json!({"command": 7}), "command")]
    {
        let place = config.to_string();
        let status = context.open("map").config(&config).refused().await.map_err(|fault| fault.at(&place))?;
        refuses(&status, &[field]).map_err(|fault| fault.at(&config.to_string()))?;
    }
    Ok(())
}

async fn config_key(context: &Context) -> Outcome {
    for handler in ["map", "filter", "flat_map"] {
        let status = context.open(handler).config(&json!({"lable": "x"})).refused().await?;
        refuses(&status, &["lable"]).map_err(|fault| fault.at(handler))?;
    }
    Ok(())
}

async fn config_all(context: &Context) -> Outcome {
    let config = json!({"label": 5, "setup": [], "nothing": 1});
    refuses(&context.open("map").config(&config).refused().await?, &["label", "nothing", "setup"])
}

async fn config_none(context: &Context) -> Outcome {
    let configs: [&'static [u8]; 5] = [b"[]", b"7", b"null", b"{\"label\": ", b"{\"label\": \"\xff\"}"];
    for config in configs {
        let status = context.open("map").with(|open| open.config_json = config.into()).refused().await?;
        refuses(&status, &[""]).map_err(|fault| fault.at(&String::from_utf8_lossy(config)))?;
    }
    Ok(())
}

async fn setup_refuses(context: &Context) -> Outcome {
    refuses(&context.open("map").config(&json!({"setup": "refuse"})).refused().await?, &["setup"])
}

async fn setup_fails(context: &Context) -> Outcome {
    let status = context.open("map").config(&json!({"setup": "fail"})).refused().await?;
    error_info(&status, Code::Unavailable, "SETUP_FAILED").map(drop)
}

async fn setup_again(context: &Context) -> Outcome {
    let config = json!({"setup": "fail_once"});
    let status = context.open("map").config(&config).refused().await?;
    error_info(&status, Code::Unavailable, "SETUP_FAILED")?;
    context.open("map").config(&config).start().await?.finish().await
}

async fn capabilities(context: &Context) -> Outcome {
    let nothing = context.open("map").start().await?;
    same("capabilities where none was offered", &Vec::<String>::new(), &nothing.opened().await?.capabilities)?;
    nothing.finish().await?;
    let mut offered = vec!["x-nobody-knows-this".to_owned()];
    offered.extend(context.described.capabilities.iter().cloned());
    let stream = context.open("map").with(|open| open.capabilities = offered).start().await?;
    let mut taken = stream.opened().await?.capabilities;
    taken.sort();
    let mut known = context.described.capabilities.clone();
    known.sort();
    same("capabilities of both sides", &known, &taken)?;
    stream.finish().await
}

async fn concurrency(context: &Context) -> Outcome {
    for calls in [1, 2, 4] {
        context.quiet().await?;
        let mut stream = context.open("map").concurrency(calls).start().await?;
        let commands = vec![json!({"do": "sleep", "ms": 150}); 8];
        let (first, second) = (stream.send(Work::commands(&commands)), stream.send(Work::commands(&commands)));
        for work in [first, second] {
            fared("`sleep`", &stream.answer(work).await?, &["out"; 8])?;
        }
        stream.finish().await?;
        let most = context.report().await?["most"].as_u64().unwrap_or_default();
        let expected = format!("at most {calls} calls at one time, and more than one if allowed");
        holds(most <= u64::from(calls) && (calls == 1 || most > 1), expected, || format!("{most}"))?;
    }
    Ok(())
}
