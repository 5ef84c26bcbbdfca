"""Syntax of UCUM codes (case sensitive), of bundles from anywhere: https://ucum.org/ucum

A grammar of our own instead of a units library: that costs two packages and 100 ms of start for a question that needs
no conversion. The atoms and prefixes are those of UCUM's table, release 2.2. This product includes all or a portion of
the UCUM table, UCUM codes, and UCUM definitions or is derived from it, subject to a license from Regenstrief Institute,
Inc. and The UCUM Organization.
"""

from __future__ import annotations

import re
from functools import lru_cache

_PREFIX_CODES = "Y Z E P T G M k h da d c m u n p f a z y Ki Mi Gi Ti"
#: Atoms that take a prefix.
_METRIC_CODES = """
    m s g rad K C cd mol sr Hz N Pa J W A V F Ohm S Wb Cel T H lm lx Bq Gy Sv l L ar t bar u eV pc [c] [h] [k]
    [eps_0] [mu_0] [e] [m_e] [m_p] [G] [g] [ly] gf Ky Gal dyn erg P Bi St Mx G Oe Gb sb Lmb ph Ci R RAD REM cal_[15]
    cal_[20] cal_m cal_IT cal_th cal tex m[H2O] m[Hg] eq osm g% kat U [iU] [IU] Np B B[SPL] B[V] B[mV] B[uV] B[10.nV]
    B[W] B[kW] st mho bit By Bd
"""
_OTHER_CODES = """
    10* 10^ [pi] % [ppth] [ppm] [ppb] [pptr] gon deg ' '' min h d a_t a_j a_g a wk mo_s mo_j mo_g mo AU atm
    [lbf_av] [in_i] [ft_i] [yd_i] [mi_i] [fth_i] [nmi_i] [kn_i] [sin_i] [sft_i] [syd_i] [cin_i] [cft_i] [cyd_i] [bf_i]
    [cr_i] [mil_i] [cml_i] [hd_i] [ft_us] [yd_us] [in_us] [rd_us] [ch_us] [lk_us] [rch_us] [rlk_us] [fth_us] [fur_us]
    [mi_us] [acr_us] [srd_us] [smi_us] [sct] [twp] [mil_us] [in_br] [ft_br] [rd_br] [ch_br] [lk_br] [fth_br] [pc_br]
    [yd_br] [mi_br] [nmi_br] [kn_br] [acr_br] [gal_us] [bbl_us] [qt_us] [pt_us] [gil_us] [foz_us] [fdr_us] [min_us]
    [crd_us] [bu_us] [gal_wi] [pk_us] [dqt_us] [dpt_us] [tbs_us] [tsp_us] [cup_us] [foz_m] [cup_m] [tsp_m] [tbs_m]
    [gal_br] [pk_br] [bu_br] [qt_br] [pt_br] [gil_br] [foz_br] [fdr_br] [min_br] [gr] [lb_av] [oz_av] [dr_av]
    [scwt_av] [lcwt_av] [ston_av] [lton_av] [stone_av] [pwt_tr] [oz_tr] [lb_tr] [sc_ap] [dr_ap] [oz_ap] [lb_ap] [oz_m]
    [lne] [pnt] [pca] [pnt_pr] [pca_pr] [pied] [pouce] [ligne] [didot] [cicero] [degF] [degR] [degRe] [Cal] [Btu_39]
    [Btu_59] [Btu_60] [Btu_m] [Btu_IT] [Btu_th] [Btu] [HP] [den] [in_i'H2O] [in_i'Hg] [PRU] [wood'U] [diop] [p'diop]
    %[slope] [mesh_i] [Ch] [drp] [hnsf'U] [MET] [hp'_X] [hp'_C] [hp'_M] [hp'_Q] [hp_X] [hp_C] [hp_M] [hp_Q] [kp_X]
    [kp_C] [kp_M] [kp_Q] [pH] [S] [HPF] [LPF] [arb'U] [USP'U] [GPL'U] [MPL'U] [APL'U] [beth'U] [anti'Xa'U] [todd'U]
    [dye'U] [smgy'U] [bdsk'U] [ka'U] [knk'U] [mclg'U] [tb'U] [CCID_50] [TCID_50] [EID_50] [PFU] [FFU] [CFU] [IR] [BAU]
    [AU] [Amb'a'1'U] [PNU] [Lf] [D'ag'U] [FEU] [ELU] [EU] Ao b att [psi] circ sph [car_m] [car_Au] [smoot]
    [m/s2/Hz^(1/2)] [NTU] [FNU] bit_s
"""
_PREFIXES, _METRIC = frozenset(_PREFIX_CODES.split()), frozenset(_METRIC_CODES.split())
_UNITS = _METRIC | frozenset(_OTHER_CODES.split())

# Operators, brackets, or a unit with its exponent and annotation; `{...}` alone is the unit 1.
_TOKEN = re.compile(r"[./()]|(?P<unit>(?:\[[!-Z^-~]*\]|[!-'*-\-0-Z^-z|~])+)?(?P<note>\{[!-z|~]*\})?", re.ASCII)
_EXPONENT = re.compile(r"(?P<unit>.*[^\d+-])(?:[+-]?\d+)?", re.ASCII)


@lru_cache(maxsize=4096)
def is_ucum(code: str) -> bool:
    """Whether `code` is a UCUM expression: `mg/dL`, `10*3/uL`, `mL/min/{1.73_m2}`, `/[HPF]`, `kg/m2`."""
    depth, wants_unit, at = 0, True, 0
    if code.startswith("/"):
        at = 1
    while at < len(code):
        found = _TOKEN.match(code, at)
        if found is None or found.end() == at:
            return False
        part = found[0]
        at = found.end()
        if part in (".", "/"):
            if wants_unit:
                return False
            wants_unit = True
        elif part == ")":
            depth -= 1
            if wants_unit or depth < 0:
                return False
        elif not wants_unit or (part != "(" and not _is_unit(found["unit"])):
            return False
        elif part == "(":
            depth += 1
        else:
            wants_unit = False
    return not wants_unit and depth == 0


def _is_unit(text: str | None) -> bool:
    """An atom with a prefix and an exponent where it may have them, or a whole number; None is a bare annotation."""
    if text is None or text.isdigit():
        return True
    found = _EXPONENT.fullmatch(text)
    if found is None:
        return False
    unit = found["unit"]
    if unit in _UNITS:
        return True
    return any(unit[:length] in _PREFIXES and unit[length:] in _METRIC for length in (1, 2))
