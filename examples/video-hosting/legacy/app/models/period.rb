# frozen_string_literal: true

# A month. Its charges are final once it is closed.
class Period < ApplicationRecord
  self.primary_key = :period

  scope :closed, -> { where(closed: true) }
  validates :period, format: /\A\d{4}-(0[1-9]|1[0-2])\z/

  def self.close!(period)
    create_or_find_by!(period: period).update!(closed: true)
  end

  def self.closed?(period)
    closed.exists?(period: period)
  end
end
