# frozen_string_literal: true

# An amount for a video in a month, to be paid by the video's user at that time. A refund reverses another charge.
class Charge < ApplicationRecord
  class Closed < StandardError; end
  class AlreadyRefunded < StandardError; end

  belongs_to :user
  belongs_to :video, counter_cache: true
  belongs_to :reverses, class_name: "Charge", optional: true
  has_many :reversals, class_name: "Charge", foreign_key: :reverses_id, dependent: :destroy, inverse_of: :reverses

  validates :currency, format: /\A[A-Z]{3}\z/
  validates :amount_minor, numericality: { only_integer: true }
  before_validation(on: :create) { self.user ||= video&.user }
  before_save :refuse_closed_period
  before_destroy :refuse_closed_period

  def refund!(period:, amount_minor: self.amount_minor)
    with_lock do
      raise AlreadyRefunded, "charge #{id} has been refunded" if reversals.sum(:amount_minor) - amount_minor < -self.amount_minor

      reversals.create!(user: user, video: video, period: period, currency: currency, amount_minor: -amount_minor)
    end
  end

  private

  def refuse_closed_period
    raise Closed, "#{period} is closed" if Period.closed?(period)
  end
end
