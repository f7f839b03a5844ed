"""Safe readers of other programs' files: nothing in them is executed."""

from headforge.pickles.downloads import check_downloaded as check_downloaded
from headforge.pickles.errors import ForbiddenNameError as ForbiddenNameError
from headforge.pickles.errors import PickleFormatError as PickleFormatError
from headforge.pickles.objects import as_dict as as_dict
from headforge.pickles.objects import as_persistent as as_persistent
from headforge.pickles.reader import read_npy as read_npy
from headforge.pickles.reader import read_pickle as read_pickle
from headforge.pickles.records import Holder as Holder
from headforge.pickles.records import Rebuild as Rebuild
