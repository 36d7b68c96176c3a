// Copyright: Contributors to the egress.ai_gateway project
// SPDX-License-Identifier: GPL-3.0-or-later

//! The few functions of Envoy's interface for dynamic modules that a judge of bodies needs.

use std::ffi::{c_char, c_void};
use std::ptr::null;

use crate::{REFUSAL, judge::judge};

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Buffer {
    start: *const u8,
    length: usize,
}

impl Buffer {
    fn bytes(&self) -> &[u8] {
        if self.length == 0 { &[] } else { unsafe { std::slice::from_raw_parts(self.start, self.length) } }
    }
}

const RECEIVED: u32 = 0;
const BUFFERED: u32 = 1;
const CONTINUE: u32 = 0;
/// For headers and for bodies.
const STOP: u32 = 1;
/// A pointer that is none of null and is never followed.
const NOTHING: *const c_void = 1 as *const c_void;

/// Envoy 1.40 wants these as well. Their arguments are not looked at, and 0 means to go on.
macro_rules! unused {
    ($($name:ident)*) => {
        $(#[unsafe(no_mangle)] pub extern "C" fn $name() -> u32 { CONTINUE })*
    };
}

unused! {
    envoy_dynamic_module_on_http_filter_request_trailers
    envoy_dynamic_module_on_http_filter_response_headers
    envoy_dynamic_module_on_http_filter_response_body
    envoy_dynamic_module_on_http_filter_response_trailers
    envoy_dynamic_module_on_http_filter_stream_complete
    envoy_dynamic_module_on_http_filter_local_reply
    envoy_dynamic_module_on_http_filter_scheduled
    envoy_dynamic_module_on_http_filter_http_callout_done
    envoy_dynamic_module_on_http_filter_http_stream_headers
    envoy_dynamic_module_on_http_filter_http_stream_data
    envoy_dynamic_module_on_http_filter_http_stream_trailers
    envoy_dynamic_module_on_http_filter_http_stream_complete
    envoy_dynamic_module_on_http_filter_http_stream_reset
    envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark
    envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark
    envoy_dynamic_module_on_http_filter_config_scheduled
    envoy_dynamic_module_on_http_filter_config_http_callout_done
    envoy_dynamic_module_on_http_filter_config_http_stream_headers
    envoy_dynamic_module_on_http_filter_config_http_stream_data
    envoy_dynamic_module_on_http_filter_config_http_stream_trailers
    envoy_dynamic_module_on_http_filter_config_http_stream_complete
    envoy_dynamic_module_on_http_filter_config_http_stream_reset
}

unsafe extern "C" {
    fn envoy_dynamic_module_callback_http_get_body_chunks_size(filter: *mut c_void, kind: u32) -> usize;
    fn envoy_dynamic_module_callback_http_get_body_chunks(filter: *mut c_void, kind: u32, chunks: *mut Buffer) -> bool;
    fn envoy_dynamic_module_callback_http_received_buffered_request_body(filter: *mut c_void) -> bool;
    fn envoy_dynamic_module_callback_http_send_response(
        filter: *mut c_void, status: u32, headers: *const c_void, count: usize, body: Buffer, details: Buffer,
    );
}

fn gather(filter: *mut c_void, kind: u32, body: &mut Vec<u8>) {
    unsafe {
        let count = envoy_dynamic_module_callback_http_get_body_chunks_size(filter, kind);
        let mut chunks = vec![Buffer { start: null(), length: 0 }; count];
        if count > 0 && envoy_dynamic_module_callback_http_get_body_chunks(filter, kind, chunks.as_mut_ptr()) {
            chunks.iter().for_each(|chunk| body.extend_from_slice(chunk.bytes()));
        }
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
    c"v0.2.0".as_ptr()
}

#[unsafe(no_mangle)]
pub extern "C" fn envoy_dynamic_module_on_http_filter_config_new(
    _: *mut c_void,
    _: Buffer,
    _: Buffer,
) -> *const c_void {
    NOTHING
}

#[unsafe(no_mangle)]
pub extern "C" fn envoy_dynamic_module_on_http_filter_config_destroy(_: *const c_void) {}

#[unsafe(no_mangle)]
pub extern "C" fn envoy_dynamic_module_on_http_filter_new(_: *const c_void, _: *mut c_void) -> *const c_void {
    NOTHING
}

#[unsafe(no_mangle)]
pub extern "C" fn envoy_dynamic_module_on_http_filter_destroy(_: *const c_void) {}

#[unsafe(no_mangle)]
pub extern "C" fn envoy_dynamic_module_on_http_filter_request_headers(
    _: *mut c_void,
    _: *const c_void,
    end: bool,
) -> u32 {
    if end { CONTINUE } else { STOP }
}

#[unsafe(no_mangle)]
pub extern "C" fn envoy_dynamic_module_on_http_filter_request_body(
    filter: *mut c_void,
    _: *const c_void,
    end: bool,
) -> u32 {
    if !end {
        return STOP;
    }
    let mut body = Vec::new();
    gather(filter, BUFFERED, &mut body);
    if !unsafe { envoy_dynamic_module_callback_http_received_buffered_request_body(filter) } {
        gather(filter, RECEIVED, &mut body);
    }
    if judge(&body).is_ok() {
        return CONTINUE;
    }
    let answer = Buffer { start: REFUSAL.as_ptr(), length: REFUSAL.len() };
    let details = Buffer { start: null(), length: 0 };
    unsafe { envoy_dynamic_module_callback_http_send_response(filter, 400, null(), 0, answer, details) };
    STOP
}
