"""Membership: which connections to have."""

from p2p.protocol.membership.interface import MembershipParameters
from p2p.protocol.membership.machine import Membership

__all__ = ["Membership", "MembershipParameters"]
