"""How a lens was found, read from its published references.

A lens that several searches found counts as the first of `DISCOVERIES` that any of them is: one that a search of
ground-based images found by itself is fair game for a finder that sees such images, whoever else found it too.
References that only follow up, model or compile lenses (the Master Lens Database among them) say nothing and
are not listed; without any listed reference the answer is ``other``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

DISCOVERIES = ("ground_imaging", "spectroscopic", "hst", "other")
"""The words of ``catalog.lens.discovery``, strongest claim first."""

GROUND_IMAGING = (
    "1906.00970",  # Huang+ 2020, DECaLS
    "2005.04730",  # Huang+ 2021, Legacy Surveys DR8
    "2206.02764",  # Storfer+ 2022, Legacy Surveys DR9
    "2110.00023",  # Stein+ 2021, Legacy Surveys DR9
    "2109.00014",  # Rojas+ 2021, DES
    "2210.10802",  # Zaborowski+ 2022, DELVE
    "10.3847/1538-4365/aa8667",  # Diehl+ 2017, DES bright arcs
    "2110.02418",  # O'Donnell+ 2021, DES clusters
    "1811.03786",  # Jacobs+ 2018, DES
    "1538-4365/ab26b6",  # Jacobs+ 2019, DES
    "1905.10522",  # Jacobs+ 2019, DES
    "1911.02162",  # Nord+ 2019, DES
    "2205.05307",  # Tran+ 2022, AGEL: DES and DECaLS candidates, confirmed by spectra afterwards
    "1812.03168",  # Petrillo+ 2018, KiDS
    "2110.01905",  # Li+ 2021, KiDS
    "2004.13048",  # Canameras+ 2020, Pan-STARRS
    "2107.07829",  # Canameras+ 2021, HSC
    "2201.11135",  # Shu+ 2022, HSC
    *("1704.01585", "1809.07341", "1904.10465", "1911.02587"),  # SuGOHI, HSC
    *("2002.01611", "2004.00634", "2203.12805", "2312.07333"),  # SuGOHI, HSC
    "SuGOHI",
    "2110.11972",  # Savary+ 2021, CFIS
    "0004-637X/785/2/144",  # Gavazzi+ 2014, CFHTLS RingFinder
    "1403.1041",  # Gavazzi+ 2014, the preprint
    "1109.1821",  # More+ 2011, CFHTLS arcs
    "1504.05587",  # More+ 2016, Space Warps, CFHTLS
    "0610362",  # Cabanac+ 2006, SL2S
    *("1307.4764", "1307.4759"),  # Sonnenfeld+ 2013, SL2S
    "1001.4336",  # Sygnet+ 2010, CFHTLS
    "1503.05824",  # Geach+ 2016, Space Warps
    "2014RMxAC..44..202M",  # Moraes+ 2014, CFHT Stripe 82
    "1210.4136",  # Furlanetto+ 2012, SOAR
    "1302.2663",  # Stark+ 2013, CASSOWARY
    "astro-ph/0610061",  # Hennawi+ 2006, giant arcs in SDSS clusters
    "1538-4365/ab5f13",  # SDSS giant arcs
    "1108.0494",  # Wen+ 2011, SDSS giant arcs
    *("0812.3934", "1010.3037", "0910.4600"),  # Kubo+ 2008, 2010, Diehl+ 2009, SDSS bright arcs
    *("astro-ph/0611138", "0809.4475"),  # Allam+ 2006, Lin+ 2008, SDSS
    "1001.3521",  # Kausch+ 2010, arcs in X-ray clusters
)
SPECTROSCOPIC = (
    *("0805.1931", "0911.2471", "SLACS"),  # Bolton+ 2008, Auger+ 2009
    "1104.5663",  # Treu+ 2011, SWELLS
    "1112.3683",  # Brownstein+ 2011, BELLS
    "1604.01842",  # Shu+ 2016, BELLS GALLERY
    "2019yCat..18510048S",  # Shu+ 2017, S4TM
    "2008.01361",  # Cao+ 2020, BOSS fibres
    *("1803.03604", "2007.09006", "2206.09902"),  # Talbot+ 2018, 2020, 2022, MaNGA and eBOSS fibres
    "1503.04813",  # Holwerda+ 2015, GAMA blended spectra
    "0810.0780",  # Feron+ 2009, SDSS spectra
)
HST = (
    "0802.2174",  # Faure+ 2008, COSMOS
    "1538-4357/aaae6a",  # Pourrahmani+ 2018, COSMOS
    "1206.3412",  # Pawase+ 2014, HST archive
    "astro-ph/0502528",  # Sand+ 2005, arcs in clusters, WFPC2 archive
    "0911.3302",  # Richard+ 2010, LoCuSS
    *("CLASH", "relics.stsci.edu", "MUSE_data_release"),
)


def discovery_rank(reference: pd.Series) -> npt.NDArray[np.int8]:
    """Index into `DISCOVERIES` for each reference text (shape as given); `other` where none is listed."""
    rank = np.full(len(reference), DISCOVERIES.index("other"), np.int8)
    for word, listed in ((2, HST), (1, SPECTROSCOPIC), (0, GROUND_IMAGING)):
        rank[reference.str.contains(_any_of(listed), regex=True).to_numpy()] = word
    return rank


def _any_of(listed: tuple[str, ...]) -> str:
    return "|".join(text.replace(".", r"\.") for text in listed)
