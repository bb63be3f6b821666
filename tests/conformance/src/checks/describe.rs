//! D: what a node says of itself.

use std::collections::BTreeSet;

use meshloom_proto::v1::HandlerRole;
use serde_json::Value as Json;

use crate::{
    check::area,
    context::Context,
    fault::{Fault, Outcome, holds, same},
};

area! {
    "describe.answers" Core Shared ["D1"] "Describe names the SDK, the protocol range and handlers" => answers;
    "describe.beside-streams" Core Shared ["D1"] "Describe says the same beside a stream" => beside;
    "describe.roles" Core Shared ["D2"] "every handler has the role that its name says" => roles;
    "describe.declares" Core Shared ["D3"] "schemas are JSON, routes are those that were declared" => declares;
    "describe.limits" Core Shared ["D4", "L1"] "limits are within the protocol's, and a handler opens with them" => limits;
}

async fn answers(context: &Context) -> Outcome {
    let described = &context.described;
    let sdk = described.sdk.clone().unwrap_or_default();
    holds(!sdk.language.is_empty() && !sdk.version.is_empty(), "the SDK's language and version", || {
        format!("{sdk:?}")
    })?;
    let range = described.protocol.unwrap_or_default();
    holds(range.min >= 1 && range.max >= range.min, "a protocol range from 1", || format!("{range:?}"))?;
    holds(!described.handlers.is_empty(), "at least one handler", || "none".into())?;
    let mut names = BTreeSet::new();
    for handler in &described.handlers {
        let name = &handler.name;
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        let letter = name.starts_with(|c: char| c.is_ascii_lowercase());
        holds(letter && name.chars().all(legal), "names that match [a-z][a-z0-9_-]*", || format!("{name:?}"))?;
        holds(names.insert(name), "unique names", || format!("{name:?} twice"))?;
    }
    Ok(())
}

async fn beside(context: &Context) -> Outcome {
    let stream = context.open("map").start().await?;
    same("Describe beside a stream", &context.described, &context.describe().await?)?;
    stream.finish().await?;
    same("Describe after a stream", &context.described, &context.describe().await?)
}

async fn roles(context: &Context) -> Outcome {
    let roles = [
        ("map", HandlerRole::Map),
        ("narrow", HandlerRole::Map),
        ("filter", HandlerRole::Filter),
        ("flat_map", HandlerRole::FlatMap),
        ("sink", HandlerRole::Sink),
        ("batch", HandlerRole::Batch),
        ("source", HandlerRole::Source),
        ("queue", HandlerRole::Source),
    ];
    for (name, role) in roles {
        // Which handlers there have to be is said by the checks that use them.
        if let Ok(handler) = context.handler(name) {
            same(&format!("the role of {name}"), &role, &handler.role())?;
        }
    }
    if let (Ok(source), Ok(queue)) = (context.handler("source"), context.handler("queue")) {
        same("whether `source` and `queue` replay", &(true, false), &(source.replays, queue.replays))?;
    }
    Ok(())
}

async fn declares(context: &Context) -> Outcome {
    for handler in &context.described.handlers {
        if !handler.config_schema.is_empty() {
            let schema = serde_json::from_slice::<Json>(&handler.config_schema);
            let schema = schema
                .map_err(|error| Fault::new(format!("the schema of {} is JSON", handler.name), error.to_string()))?;
            let legal = schema.is_object() || schema.is_boolean();
            holds(legal, format!("a JSON Schema for {}", handler.name), || schema.to_string())?;
        }
    }
    for name in ["map", "flat_map"] {
        let routes: BTreeSet<_> = context.handler(name)?.routes.iter().map(String::as_str).collect();
        same(&format!("the routes of {name}"), &BTreeSet::from(["left", "right"]), &routes)?;
    }
    Ok(())
}

async fn limits(context: &Context) -> Outcome {
    for handler in &context.described.handlers {
        let limits = handler.limits.unwrap_or_default();
        let within = limits.max_batch_events <= 65_536 && limits.max_batch_bytes <= 32 << 20;
        holds(within, format!("limits of {} within 65,536 events and 32 MiB", handler.name), || format!("{limits:?}"))?;
    }
    for name in ["map", "narrow"] {
        let stream = context.open(name).start().await?;
        let opened = stream.opened().await?.limits.unwrap_or_default();
        let described = context.handler(name)?.limits.unwrap_or_default();
        same(&format!("the limits that {name} opens with, as Describe has them"), &described, &opened)?;
        stream.finish().await?;
    }
    let narrow = context.handler("narrow")?.limits.unwrap_or_default();
    let numbers = (narrow.max_in_flight_works, narrow.max_batch_events, narrow.max_batch_bytes);
    same("the limits of `narrow`", &(2, 8, 65_536), &numbers)
}
