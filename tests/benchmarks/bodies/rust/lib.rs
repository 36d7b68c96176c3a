// Copyright: Contributors to the egress.ai_gateway project
// SPDX-License-Identifier: GPL-3.0-or-later

//! One judge of bodies, as a WebAssembly module and as a dynamic module of Envoy.

mod judge;
#[cfg(not(target_arch = "wasm32"))]
mod module;
#[cfg(target_arch = "wasm32")]
mod wasm;

const REFUSAL: &[u8] = br#"{"error":{"message":"refused"}}"#;
