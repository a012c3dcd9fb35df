"""Protocols: which interactions train and which are predicted; chosen by config, stated in every result.

``--data.protocol GlobalTime --data.protocol.train_share 0.8``. Users' histories come ordered by time; where
times are equal, in the order of the file. How much of a history is read is the data module's business under
every protocol: ``max_len``, ``min_len``, ``windowing``; and so is ``filter``, a k-core before all else.

What the papers do, and how to have it (L is ``max_len``; "last" and "chunks" are ``windowing``):

================  =============================================  ============================================
paper             data                                           protocol
================  =============================================  ============================================
MoRec             ``mind``; ``hm`` subset 50W                    LeaveTwoOut, last L + 3, users with 5; L = 20
                                                                 for texts, 10 for pictures
NineRec           ``ninerec``                                    the same, L = 20
PixelRec          ``pixelrec``                                   LeaveTwoOut, chunks of 11, all earlier items
                                                                 hidden; users with 3 (here 4)
MicroLens         ``microlens``                                  LeaveTwoOut, last 13, users with 5
PMMRec            ``bili_kwai`` subset bili_food                 LeaveTwoOut, last 23, users with 3 (here 4)
MMSR              ``hm`` subset 20W                              LeaveTwoOut, last 23, users with 5
ODMT              ``amazon`` release odmt; ``hm`` subset 5W;     LeaveTwoOut, last L + 3, users with 5;
                  ``bili_kwai`` subsets bili and stream          L = 12, of bili 15
IISAN(-Versa)     ``amazon`` release iisan; ``microlens``        LeaveTwoOut, last 13, users with 5
CROSSAN           ``microlens``                                  not published; here as IISAN
GUIDER, and the   ``mmrec`` names baby, sports, elec             labels of the file: within each user of the
hosts of MMRec                                                   5-core about 8 : 1 : 1 at random, drawn
                                                                 without a seed; ``demo_cf`` has one
FMMRec            ``ml1m``, ``microlens_fair``                   the same; ``ml1m`` by ``cut`` and its seed,
                                                                 or as released, through ``mmrec``
================  =============================================  ============================================

Three points where authors differ from LeaveTwoOut as it is here: users with three interactions, who have
nothing to predict in training, are left out; PMMRec does not hide the oldest item of a full window in the
test; where authors' sorts are unstable, equal times keep the order of the file. None of the papers splits by
global time or holds out items or users: ``GlobalTime``, ``ColdItems`` and ``ColdUsers`` are for what their
numbers cannot say.
"""

from datamodules.protocols.base import Division, Frame, Places, Protocol
from datamodules.protocols.cold_items import ColdItems
from datamodules.protocols.cold_users import ColdUsers
from datamodules.protocols.global_time import GlobalTime
from datamodules.protocols.k_core import KCore
from datamodules.protocols.leave_two_out import LeaveTwoOut

__all__ = [
    "ColdItems",
    "ColdUsers",
    "Division",
    "Frame",
    "GlobalTime",
    "KCore",
    "LeaveTwoOut",
    "Places",
    "Protocol",
]
