//! A PKCS#11 module that passes every call on to a real one, and makes some of them fail, as a device might.
//!
//! No software token says on demand that it was removed, that a session is gone, or that a PIN is locked. This one does.
//! It is told what to do by three variables of the process that loads it:
//!
//! | variable | what |
//! |---|---|
//! | `PKCS11_INJECTOR_MODULE` | path of the real module |
//! | `PKCS11_INJECTOR_RULES` | a file of rules, read before every call; without it all calls go through |
//! | `PKCS11_INJECTOR_LOG` | a file to which the name of every call is added, a line each |
//!
//! It panics at whatever is wrong with them, which ends the process: a test must not pass by accident.

mod pass_through;
mod rules;

use std::ptr;
use std::sync::OnceLock;

use cryptoki_sys::{CK_FUNCTION_LIST, CK_RV, CKR_ARGUMENTS_BAD, CKR_OK, Pkcs11};

/// The real module, once it was loaded.
static REAL: OnceLock<Real> = OnceLock::new();
/// The table that is given out: the real one, with our functions in the places of those that are used.
static TABLE: OnceLock<CK_FUNCTION_LIST> = OnceLock::new();

struct Real {
    table: CK_FUNCTION_LIST,
    _library: Pkcs11,
}

fn real() -> &'static CK_FUNCTION_LIST {
    &REAL.get_or_init(load).table
}

fn load() -> Real {
    let path = std::env::var_os("PKCS11_INJECTOR_MODULE").expect("PKCS11_INJECTOR_MODULE is set");
    // SAFETY: loading runs the initialisers of a library that the test named.
    let library = unsafe { Pkcs11::new(path) }.expect("PKCS11_INJECTOR_MODULE is a library");
    let list_of = library.C_GetFunctionList.as_ref().expect("it is a PKCS#11 module");
    let mut list = ptr::null_mut();
    // SAFETY: `list` is a live pointer to write to.
    let code = unsafe { list_of(&raw mut list) };
    assert!(code == CKR_OK && !list.is_null(), "C_GetFunctionList answered {code:#x}");
    // SAFETY: not null; the table is in static memory of the module.
    let table = unsafe { *list };
    Real { table, _library: library }
}

/// The entry point of every PKCS#11 module.
///
/// # Safety
///
/// `list` is null, or may be written to.
#[allow(non_snake_case, reason = "the name of the standard")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    if list.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    let table = TABLE.get_or_init(|| pass_through::table(real()));
    // SAFETY: not null, and the caller says that it may be written to. Nobody writes through what it points to.
    unsafe { *list = ptr::from_ref(table).cast_mut() };
    CKR_OK
}
